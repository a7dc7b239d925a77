// What a plugin in C uses beside the contract's types (../gen/integrator.h) and JSON (json.h).
// All memory is of one arena, which is emptied once the engine has read the answer: nothing is freed by hand, and
// literals may be handed out as they are.
#ifndef ENGATE_H
#define ENGATE_H
#include "../gen/integrator.h"
#include "json.h"
#include <string.h>

// ---- text and memory; a text_t is UTF-8 with a length, no zero at its end
#define TEXT(literal) ((text_t){(uint8_t *)(literal), sizeof(literal) - 1})
#define ARG(text) (int)(text).len, (const char *)(text).ptr // for "%.*s"
void *allocate(size_t size);                                // zeroed; never NULL
text_t text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline text_t text_of(const char *string) { return (text_t){(uint8_t *)string, strlen(string)}; } // not a copy
static inline bool text_same(text_t a, text_t b) { return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0; }
static inline text_t payload_text(payload_t payload) { // empty where there is none or it is not text
  return payload.tag == PAYLOAD_TEXT ? payload.val.text : TEXT("");
}
static inline payload_t payload_of(text_t text) { return (payload_t){.tag = PAYLOAD_TEXT, .val.text = text}; }

// ---- what the engine offers to a plugin
const json_t *config(const char *pointer); // NULL: not configured
bool hmac_sha256(const char *secret, text_t data, text_t *hex, problem_t *problem); // false: see the problem
static inline void log_line(engate_plugin_log_level_t level, text_t line) { // ENGATE_PLUGIN_LOG_LEVEL_INFO, for one
  engate_plugin_log_write(level, &line, &(list_tuple2_string_string_t){0});
}

// ---- answers
static inline bool refuse(problem_t *problem, const char *code, text_t message) { // final; for: return refuse(...)
  *problem = (problem_t){.code = text_of(code), .message = message};
  return false;
}
static inline bool skip(plan_t *plan, text_t reason) { // for: return skip(...)
  *plan = (plan_t){.tag = PLAN_SKIP, .val.skip = reason};
  return true;
}
static inline http_request_t *post(plan_t *plan, text_t url, payload_t body) { // with its headers still to come
  *plan = (plan_t){.tag = PLAN_SEND, .val.send.request = {.method = TEXT("POST"), .url = url, .body = body}};
  return &plan->val.send.request;
}
void header(http_request_t *request, const char *name, text_t value);

// VERDICT(SUCCESS), or VERDICT(SUCCESS, .success = {true, their_id})
// VERDICT(RETRY, .retry = {.reason = why}) by the engine's schedule, or VERDICT(RETRY, .retry = {{true, after_ms}, why})
// VERDICT(FAIL, .fail = {code, message, retryable}), VERDICT(DISABLE_ENDPOINT, .disable_endpoint = why)
#define VERDICT(kind, ...) ((verdict_t){.tag = VERDICT_##kind, .val = {__VA_ARGS__}})
static inline verdict_t by_status(const http_response_t *response) { // 2xx is success, all else a retry
  if (response->status >= 200 && response->status < 300) return VERDICT(SUCCESS);
  return VERDICT(RETRY, .retry = {.reason = text_format("HTTP status %d", response->status)});
}
#endif
