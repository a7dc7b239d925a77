// What a plugin in C uses beside the contract's generated types: text, JSON, requests, verdicts.
// All memory is of one arena, which is emptied once the engine has read the answer: nothing is freed by hand, and
// literals may be handed out as they are.
#ifndef ENGATE_H
#define ENGATE_H
#include "../gen/integrator.h"

// ---- the contract's types, by short names
typedef integrator_string_t text_t; // UTF-8 with a length, no zero at its end
typedef exports_engate_plugin_plugin_manifest_t manifest_t;
typedef exports_engate_plugin_plugin_need_t need_t;
typedef exports_engate_plugin_delivery_event_t event_t;
typedef exports_engate_plugin_delivery_delivery_info_t delivery_t;
typedef exports_engate_plugin_delivery_endpoint_t endpoint_t;
typedef exports_engate_plugin_delivery_attempt_t attempt_t;
typedef exports_engate_plugin_delivery_plan_t plan_t;
typedef exports_engate_plugin_delivery_exchange_t exchange_t;
typedef exports_engate_plugin_delivery_verdict_t verdict_t;
typedef engate_plugin_types_payload_t payload_t;
typedef engate_plugin_types_problem_t problem_t;
typedef engate_plugin_types_http_request_t request_t;
typedef engate_plugin_types_http_response_t response_t;

// ---- text and memory
#define TEXT(literal) ((text_t){(uint8_t *)(literal), sizeof(literal) - 1})
#define ARG(text) (int)(text).len, (const char *)(text).ptr // for "%.*s"
void *allocate(size_t size);                                // zeroed; never NULL
text_t text_of(const char *string);                         // the same bytes, not a copy
bool text_same(text_t a, text_t b);
text_t text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
text_t payload_text(payload_t payload); // empty where there is none or it is not text
payload_t payload_of(text_t text);

// ---- reading JSON; every function takes NULL for a value that is not there
typedef struct json {
  enum { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } kind;
  text_t name;             // of a member of an object
  text_t text;             // a string without its escapes; any other value as it is spelled
  struct json *first, *next; // the first part of an array or object, and the one after this
} json_t;
const json_t *json_parse(text_t source);                         // NULL: not JSON
const json_t *json_at(const json_t *value, const char *pointer); // "/customer/name"; NULL: not there
bool json_text(const json_t *value, text_t *into);               // false: not a string
bool json_integer(const json_t *value, int64_t *into);           // false: not a number that fits

// ---- writing JSON; `name` is NULL for the parts of an array and the outermost value
typedef struct { text_t text; size_t room; } writer_t;
void put_open(writer_t *out, const char *name, char bracket);
void put_close(writer_t *out, char bracket);
void put_text(writer_t *out, const char *name, text_t value);
void put_raw(writer_t *out, const char *name, text_t json); // a number, or JSON as it came

// ---- what the engine offers to a plugin
const json_t *config(const char *pointer); // NULL: not configured
bool hmac_sha256(const char *secret, text_t data, text_t *hex, problem_t *problem); // false: see the problem
void log_line(engate_plugin_log_level_t level, text_t line); // ENGATE_PLUGIN_LOG_LEVEL_INFO, for one

// ---- answers
bool refuse(problem_t *problem, const char *code, text_t message); // final; returns false, so: return refuse(...)
bool skip(plan_t *plan, text_t reason);                            // returns true, so: return skip(...)
request_t *post(plan_t *plan, text_t url, payload_t body);         // with its headers still to come
void header(request_t *request, const char *name, text_t value);
void memo(plan_t *plan, text_t text);                              // after `post`; handed back to `interpret`
verdict_t success(void);
verdict_t success_as(text_t partner_id);
verdict_t retry(text_t reason);
verdict_t retry_after(uint64_t milliseconds, text_t reason);
verdict_t fail(text_t code, text_t message, bool retryable);
verdict_t disable_endpoint(text_t reason);
verdict_t by_status(const response_t *response); // 2xx is success, all else a retry
#endif
