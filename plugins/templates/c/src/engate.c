#include "engate.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- memory: blocks out of malloc, freed together once the engine has read the answer

typedef struct block { struct block *next; } block_t;
static block_t *blocks;
static char *free_start, *free_end;

void *allocate(size_t size) {
  size = (size + 7) & ~(size_t)7;
  if (size > (size_t)(free_end - free_start)) {
    size_t room = size > 32000 ? size : 32000;
    block_t *block = calloc(1, sizeof(uint64_t) + room);
    if (!block) abort();
    block->next = blocks;
    blocks = block;
    free_start = (char *)block + sizeof(uint64_t);
    free_end = free_start + room;
  }
  char *start = free_start;
  free_start += size;
  return start;
}

static void release(void) {
  for (block_t *next; blocks; blocks = next) {
    next = blocks->next;
    free(blocks);
  }
  free_start = free_end = NULL;
}

// These take the place of the bindings' own. What the engine passes to us lands in the arena as well.
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
EXPORT("cabi_post_engate:plugin/plugin@0.1.0#describe")
void __wasm_export_exports_engate_plugin_plugin_describe_post_return(uint8_t *result) { (void)result, release(); }
EXPORT("cabi_post_engate:plugin/delivery@0.1.0#transform")
void __wasm_export_exports_engate_plugin_delivery_transform_post_return(uint8_t *result) { (void)result, release(); }
EXPORT("cabi_post_engate:plugin/delivery@0.1.0#interpret")
void __wasm_export_exports_engate_plugin_delivery_interpret_post_return(uint8_t *result) { (void)result, release(); }
// The bindings ask for the object file that carries the world; here `engate plugin build` adds the world.
void __component_type_object_force_link_integrator(void) {}

// ---- text

text_t text_of(const char *string) { return (text_t){(uint8_t *)string, strlen(string)}; }

bool text_same(text_t a, text_t b) { return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0; }

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

text_t payload_text(payload_t payload) {
  return payload.tag == ENGATE_PLUGIN_TYPES_PAYLOAD_TEXT ? payload.val.text : TEXT("");
}

payload_t payload_of(text_t text) { return (payload_t){.tag = ENGATE_PLUGIN_TYPES_PAYLOAD_TEXT, .val.text = text}; }

// ---- what the engine offers

const json_t *config(const char *pointer) {
  text_t at = text_of(pointer), found;
  return engate_plugin_config_get(&at, &found) ? json_parse(found) : NULL;
}

bool hmac_sha256(const char *secret, text_t data, text_t *hex, problem_t *problem) {
  text_t name = text_of(secret);
  integrator_list_u8_t input = {data.ptr, data.len}, mac;
  engate_plugin_secrets_error_t error;
  if (!engate_plugin_secrets_hmac_sha256(&name, &input, &mac, &error)) {
    if (error.tag == ENGATE_PLUGIN_SECRETS_ERROR_DENIED)
      return refuse(problem, "secret_denied",
                    text_format("the secret %s is not there for this plugin: create it and grant it", secret));
    refuse(problem, "secret_unavailable",
           text_format("the secret %s cannot be read now: %.*s", secret, ARG(error.val.unavailable)));
    problem->retryable = true;
    return false;
  }
  *hex = (text_t){allocate(2 * mac.len + 1), 2 * mac.len};
  for (size_t i = 0; i < mac.len; i++) snprintf((char *)hex->ptr + 2 * i, 3, "%02x", mac.ptr[i]);
  return true;
}

void log_line(engate_plugin_log_level_t level, text_t line) {
  integrator_list_tuple2_string_string_t fields = {0};
  engate_plugin_log_write(level, &line, &fields);
}

// ---- answers

bool refuse(problem_t *problem, const char *code, text_t message) {
  *problem = (problem_t){.code = text_of(code), .message = message};
  return false;
}

bool skip(plan_t *plan, text_t reason) {
  *plan = (plan_t){.tag = EXPORTS_ENGATE_PLUGIN_DELIVERY_PLAN_SKIP, .val.skip = reason};
  return true;
}

request_t *post(plan_t *plan, text_t url, payload_t body) {
  *plan = (plan_t){.tag = EXPORTS_ENGATE_PLUGIN_DELIVERY_PLAN_SEND};
  plan->val.send.request = (request_t){.method = TEXT("POST"), .url = url, .body = body};
  return &plan->val.send.request;
}

void header(request_t *request, const char *name, text_t value) {
  engate_plugin_types_list_pair_t *list = &request->headers;
  engate_plugin_types_pair_t *grown = allocate((list->len + 1) * sizeof *grown);
  if (list->len) memcpy(grown, list->ptr, list->len * sizeof *grown);
  grown[list->len++] = (engate_plugin_types_pair_t){text_of(name), value};
  list->ptr = grown;
}

void memo(plan_t *plan, text_t text) { plan->val.send.memo = (integrator_option_string_t){true, text}; }

#define VERDICT(name) .tag = EXPORTS_ENGATE_PLUGIN_DELIVERY_VERDICT_##name
verdict_t success(void) { return (verdict_t){VERDICT(SUCCESS)}; }
verdict_t success_as(text_t partner_id) { return (verdict_t){VERDICT(SUCCESS), .val.success = {true, partner_id}}; }
verdict_t retry(text_t reason) { return (verdict_t){VERDICT(RETRY), .val.retry = {.reason = reason}}; }
verdict_t retry_after(uint64_t milliseconds, text_t reason) {
  return (verdict_t){VERDICT(RETRY), .val.retry = {{true, milliseconds}, reason}};
}
verdict_t fail(text_t code, text_t message, bool retryable) {
  return (verdict_t){VERDICT(FAIL), .val.fail = {code, message, retryable}};
}
verdict_t disable_endpoint(text_t reason) {
  return (verdict_t){VERDICT(DISABLE_ENDPOINT), .val.disable_endpoint = reason};
}
verdict_t by_status(const response_t *response) {
  bool good = response->status >= 200 && response->status < 300;
  return good ? success() : retry(text_format("HTTP status %d", response->status));
}
