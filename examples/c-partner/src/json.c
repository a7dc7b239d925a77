#include "engate.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char letters[] = "\"\\bfnrt/", meanings[] = "\"\\\b\f\n\r\t/"; // of the escapes

// ---- reading

typedef struct { const uint8_t *at, *end; } reader_t;

static int peek(const reader_t *in) { return in->at < in->end ? *in->at : -1; }

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

static bool digits(reader_t *in) {
  const uint8_t *start = in->at;
  while (isdigit(peek(in))) in->at++;
  return in->at > start;
}

static bool read_number(reader_t *in) {
  take(in, "-");
  if (!take(in, "0") && !digits(in)) return false;
  if (take(in, ".") && !digits(in)) return false;
  if (!take(in, "e") && !take(in, "E")) return true;
  if (!take(in, "+")) take(in, "-");
  return digits(in);
}

static int read_code(reader_t *in) { // the u0041 of \u0041; -1: it is not such
  int code = 0;
  if (!take(in, "u")) return -1;
  for (int i = 0; i < 4; i++, in->at++) {
    int digit = peek(in);
    if (!isxdigit(digit)) return -1;
    code = code << 4 | (digit <= '9' ? digit - '0' : tolower(digit) - 'a' + 10);
  }
  return code;
}

static bool read_escape(reader_t *in, uint8_t **out) {
  const char *letter = peek(in) > 0 ? strchr(letters, *in->at) : NULL;
  if (letter) in->at++;
  int code = letter ? meanings[letter - letters] : read_code(in);
  if (code >> 11 == 0xD800 >> 11) { // half of a pair: the first, or there is an error
    int low = code < 0xDC00 && take(in, "\\") ? read_code(in) : -1;
    if (low >> 10 != 0xDC00 >> 10) return false;
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }
  if (code < 0) return false;
  int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3; // bytes after the first
  static const uint8_t marks[] = {0, 0xC0, 0xE0, 0xF0};
  *(*out)++ = (uint8_t)(marks[more] | code >> 6 * more);
  while (more-- > 0) *(*out)++ = (uint8_t)(0x80 | (code >> 6 * more & 0x3F));
  return true;
}

static bool read_string(reader_t *in, text_t *into) {
  if (!take(in, "\"")) return false;
  reader_t ahead = *in; // to the end of it
  while (peek(&ahead) != '"') {
    if (peek(&ahead) < 0x20) return false; // a control character, or nothing more
    if (*ahead.at++ == '\\' && peek(&ahead) > 0) ahead.at++;
  }
  uint8_t *out = into->ptr = allocate((size_t)(ahead.at - in->at)); // without escapes it only gets shorter
  while (in->at < ahead.at) {
    if (!take(in, "\\")) *out++ = *in->at++;
    else if (!read_escape(in, &out)) return false;
  }
  into->len = (size_t)(out - into->ptr);
  return take(in, "\"");
}

static json_t *read_value(reader_t *in, int depth);

static bool read_parts(reader_t *in, json_t *value, const char *close, int depth) {
  json_t **last = &value->first;
  in->at++;
  if (after_space(in) == *close) return take(in, close);
  do {
    text_t name = {0};
    after_space(in);
    if (*close == '}' && (!read_string(in, &name) || after_space(in) != ':' || !take(in, ":"))) return false;
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
  bool good = depth > 100  ? false
            : first == '{' ? read_parts(in, value, "}", depth)
            : first == '[' ? read_parts(in, value, "]", depth)
            : first == '"' ? read_string(in, &value->text)
                           : take(in, "null") || take(in, "true") || take(in, "false") || read_number(in);
  value->kind = first == '-' || isdigit(first) ? JSON_NUMBER : first;
  if (first != '"') value->text = (text_t){(uint8_t *)start, (size_t)(in->at - start)};
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
  char *end;
  errno = 0;
  int64_t number = strtoll((char *)text_format("%.*s", ARG(value->text)).ptr, &end, 10);
  if (*end || errno) return false;
  *into = number;
  return true;
}

// ---- writing

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
