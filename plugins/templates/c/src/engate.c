#include "engate.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

// ---- memory: blocks out of malloc, freed together once the engine has read the answer

typedef struct block { struct block *next; uint64_t start[]; } block_t;
static block_t *blocks;
static char *free_start, *free_end;

void *allocate(size_t size) {
  size = (size + 7) & ~(size_t)7;
  if (size > (size_t)(free_end - free_start)) {
    size_t room = size > 32000 ? size : 32000;
    block_t *block = calloc(1, sizeof *block + room);
    if (!block) abort();
    block->next = blocks;
    blocks = block;
    free_start = (char *)block->start;
    free_end = free_start + room;
  }
  free_start += size;
  return free_start - size;
}

void arena_empty(void) { // the bindings call it
  for (block_t *next; blocks; blocks = next) {
    next = blocks->next;
    free(blocks);
  }
  free_start = free_end = NULL;
}

// This takes the place of the bindings' own: what the engine passes to us lands in the arena as well.
#define EXPORT(name) __attribute__((export_name(name)))
EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
  (void)align;
  void *start = allocate(size);
  if (old_size) memcpy(start, old, old_size < size ? old_size : size);
  return start;
}
// What stdio keeps between calls (if the plugin uses it) stays out of the arena.
EXPORT("cabi_realloc_adapter") void *cabi_realloc_adapter(void *old, size_t old_size, size_t align, size_t size) {
  (void)old_size, (void)align;
  return realloc(old, size);
}

// ---- text

text_t text_format(const char *format, ...) {
  char brief[200]; // long enough for most, so that they are formatted once
  va_list first, second;
  va_start(first, format);
  va_copy(second, first);
  size_t len = (size_t)vsnprintf(brief, sizeof brief, format, first);
  text_t text = {allocate(len + 1), len};
  if (len < sizeof brief) memcpy(text.ptr, brief, len + 1);
  else vsnprintf((char *)text.ptr, len + 1, format, second);
  va_end(first);
  va_end(second);
  return text;
}

// ---- what the engine offers

const json_t *config(const char *pointer) {
  text_t at = text_of(pointer), found;
  return engate_plugin_config_get(&at, &found) ? json_parse(found) : NULL;
}

bool hmac_sha256(const char *secret, text_t data, text_t *hex, problem_t *problem) {
  text_t name = text_of(secret);
  list_u8_t input = {data.ptr, data.len}, mac;
  engate_plugin_secrets_error_t error;
  if (!engate_plugin_secrets_hmac_sha256(&name, &input, &mac, &error)) {
    bool denied = error.tag == ENGATE_PLUGIN_SECRETS_ERROR_DENIED;
    text_t why = denied ? TEXT("is not there for this plugin: create it and grant it")
                        : text_format("cannot be read now: %.*s", ARG(error.val.unavailable));
    refuse(problem, denied ? "secret_denied" : "secret_unavailable", text_format("the secret %s %.*s", secret, ARG(why)));
    problem->retryable = !denied;
    return false;
  }
  *hex = (text_t){allocate(2 * mac.len + 1), 2 * mac.len};
  for (size_t i = 0; i < mac.len; i++) snprintf((char *)hex->ptr + 2 * i, 3, "%02x", mac.ptr[i]);
  return true;
}

// ---- answers

void header(http_request_t *request, const char *name, text_t value) {
  list_pair_t *list = &request->headers;
  pair_t *grown = allocate((list->len + 1) * sizeof *grown);
  if (list->len) memcpy(grown, list->ptr, list->len * sizeof *grown);
  grown[list->len++] = (pair_t){text_of(name), value};
  list->ptr = grown;
}
