// A small JSON reader and writer. A value keeps its own spelling, so 10.50 can go on as 10.50.
#include "engate.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- reading JSON

typedef struct { const uint8_t *at, *end; } reader_t;

static int peek(reader_t *in) { return in->at < in->end ? *in->at : -1; }

static int after_space(reader_t *in) {
  while (in->at < in->end && memchr(" \t\r\n", *in->at, 4)) in->at++;
  return peek(in);
}

static bool take(reader_t *in, const char *literal) {
  size_t len = strlen(literal);
  if ((size_t)(in->end - in->at) < len || memcmp(in->at, literal, len) != 0) return false;
  in->at += len;
  return true;
}

static size_t digits(reader_t *in) {
  const uint8_t *start = in->at;
  while (peek(in) >= '0' && peek(in) <= '9') in->at++;
  return (size_t)(in->at - start);
}

static bool read_number(reader_t *in) {
  take(in, "-");
  bool zero = peek(in) == '0';
  size_t whole = digits(in);
  if (whole == 0 || (zero && whole > 1) || (take(in, ".") && digits(in) == 0)) return false;
  if (!take(in, "e") && !take(in, "E")) return true;
  if (!take(in, "+")) take(in, "-");
  return digits(in) > 0;
}

static bool read_hex(reader_t *in, uint32_t *code) { // the four digits of \u0041
  *code = 0;
  for (int i = 0; i < 4; i++, in->at++) {
    static const char hex[] = "0123456789abcdef0123456789ABCDEF";
    const char *digit = peek(in) > 0 ? strchr(hex, *in->at) : NULL;
    if (!digit) return false;
    *code = *code << 4 | (uint32_t)(digit - hex) % 16;
  }
  return true;
}

static bool read_escape(reader_t *in, uint8_t **out) {
  static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
  const char *letter = peek(in) > 0 ? strchr(letters, *in->at) : NULL;
  if (letter) return in->at++, *(*out)++ = (uint8_t)meanings[letter - letters], true;
  uint32_t code, low;
  if (!take(in, "u") || !read_hex(in, &code) || (code >= 0xDC00 && code < 0xE000)) return false;
  if (code >= 0xD800 && code < 0xDC00) { // the first half of a pair
    if (!take(in, "\\u") || !read_hex(in, &low) || low < 0xDC00 || low >= 0xE000) return false;
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }
  int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3; // bytes after the first
  static const uint8_t marks[] = {0, 0xC0, 0xE0, 0xF0};
  *(*out)++ = (uint8_t)(marks[more] | code >> 6 * more);
  while (more-- > 0) *(*out)++ = (uint8_t)(0x80 | (code >> 6 * more & 0x3F));
  return true;
}

static bool read_string(reader_t *in, text_t *into) {
  if (!take(in, "\"")) return false;
  const uint8_t *start = in->at;
  bool escapes = false;
  for (; peek(in) != '"'; in->at++) {
    if (peek(in) < 0x20) return false; // a control character, or the end
    if (*in->at == '\\') escapes = true, in->at++;
  }
  *into = (text_t){(uint8_t *)start, (size_t)(in->at++ - start)};
  if (!escapes) return true;
  reader_t from = {start, start + into->len};
  uint8_t *out = into->ptr = allocate(into->len); // it only gets shorter
  while (from.at < from.end) {
    if (!take(&from, "\\")) *out++ = *from.at++;
    else if (!read_escape(&from, &out)) return false;
  }
  into->len = (size_t)(out - into->ptr);
  return true;
}

static json_t *read_value(reader_t *in, int depth);

static bool read_parts(reader_t *in, json_t *value, const char *close, int depth) {
  bool object = value->kind == JSON_OBJECT;
  json_t **last = &value->first;
  in->at++;
  if (after_space(in) == *close) return take(in, close);
  do {
    text_t name = {0};
    after_space(in);
    if (object && (!read_string(in, &name) || after_space(in) != ':' || !take(in, ":"))) return false;
    if (!(*last = read_value(in, depth + 1))) return false;
    (*last)->name = name;
    last = &(*last)->next;
    after_space(in);
  } while (take(in, ","));
  return take(in, close);
}

static json_t *read_value(reader_t *in, int depth) {
  json_t *value = allocate(sizeof *value);
  int first = after_space(in);
  const uint8_t *start = in->at;
  bool good = false;
  if (depth > 100) return NULL;
  else if (first == '{') value->kind = JSON_OBJECT, good = read_parts(in, value, "}", depth);
  else if (first == '[') value->kind = JSON_ARRAY, good = read_parts(in, value, "]", depth);
  else if (first == '"') value->kind = JSON_STRING, good = read_string(in, &value->text);
  else if (take(in, "null")) value->kind = JSON_NULL, good = true;
  else if (take(in, "true")) value->kind = JSON_TRUE, good = true;
  else if (take(in, "false")) value->kind = JSON_FALSE, good = true;
  else value->kind = JSON_NUMBER, good = read_number(in);
  if (value->kind != JSON_STRING) value->text = (text_t){(uint8_t *)start, (size_t)(in->at - start)};
  return good ? value : NULL;
}

const json_t *json_parse(text_t source) {
  reader_t in = {source.ptr, source.ptr + source.len};
  json_t *value = read_value(&in, 0);
  return after_space(&in) < 0 ? value : NULL;
}

const json_t *json_at(const json_t *value, const char *pointer) {
  while (value && *pointer == '/') {
    size_t len = strcspn(++pointer, "/");
    size_t index = value->kind == JSON_ARRAY ? strtoul(pointer, NULL, 10) : 0;
    const json_t *found = NULL;
    for (const json_t *part = value->first; part; part = part->next) {
      bool here = value->kind == JSON_ARRAY ? index-- == 0 : text_same(part->name, (text_t){(uint8_t *)pointer, len});
      if (here) found = part; // of two members with one name the last counts
    }
    value = found;
    pointer += len;
  }
  return value;
}

bool json_text(const json_t *value, text_t *into) {
  if (!value || value->kind != JSON_STRING) return false;
  *into = value->text;
  return true;
}

bool json_integer(const json_t *value, int64_t *into) {
  if (!value || value->kind != JSON_NUMBER) return false;
  text_t text = value->text;
  bool negative = *text.ptr == '-';
  *into = 0;
  for (size_t i = negative; i < text.len; i++) {
    int digit = text.ptr[i] - '0';
    if (digit < 0 || digit > 9 || __builtin_mul_overflow(*into, 10, into)) return false;
    if (__builtin_add_overflow(*into, negative ? -digit : digit, into)) return false;
  }
  return true;
}

// ---- writing JSON

static void put(writer_t *out, const void *bytes, size_t len) {
  if (out->text.len + len > out->room) {
    out->room = 2 * (out->text.len + len) + 256;
    uint8_t *grown = allocate(out->room);
    if (out->text.len) memcpy(grown, out->text.ptr, out->text.len);
    out->text.ptr = grown;
  }
  if (len) memcpy(out->text.ptr + out->text.len, bytes, len);
  out->text.len += len;
}

static void put_string(writer_t *out, text_t value) {
  static const char letters[] = "\"\\bfnrt", meanings[] = "\"\\\b\f\n\r\t";
  size_t plain = 0; // where those bytes begin that go out as they are
  put(out, "\"", 1);
  for (size_t i = 0; i < value.len; i++) {
    uint8_t byte = value.ptr[i];
    if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
    put(out, value.ptr + plain, i - plain);
    plain = i + 1;
    const char *meaning = byte ? strchr(meanings, byte) : NULL;
    char code[7];
    if (meaning) put(out, (char[]){'\\', letters[meaning - meanings]}, 2);
    else put(out, code, (size_t)snprintf(code, sizeof code, "\\u%04x", byte));
  }
  put(out, value.ptr + plain, value.len - plain);
  put(out, "\"", 1);
}

static void put_name(writer_t *out, const char *name) {
  text_t text = out->text;
  if (text.len && !strchr("{[", text.ptr[text.len - 1])) put(out, ",", 1);
  if (!name) return;
  put_string(out, text_of(name));
  put(out, ":", 1);
}

void put_open(writer_t *out, const char *name, char bracket) { put_name(out, name), put(out, &bracket, 1); }
void put_close(writer_t *out, char bracket) { put(out, &bracket, 1); }
void put_text(writer_t *out, const char *name, text_t value) { put_name(out, name), put_string(out, value); }
void put_raw(writer_t *out, const char *name, text_t json) { put_name(out, name), put(out, json.ptr, json.len); }
