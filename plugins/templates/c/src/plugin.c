// A plugin is two pure functions: `transform` says what to send, `interpret` says what an answer means. The engine does
// everything that acts: HTTP, credentials, retries, storage.
#include "engate.h"

// Asked once, when the plugin is installed. More to say: `.config_schema`, `.event_types`, `.secrets`.
void describe(manifest_t *manifest) {
  *manifest = (manifest_t){
    .id = TEXT("{{name}}"),
    .version = TEXT("0.1.0"),
    .title = TEXT("{{name}}"),
    .config_schema = TEXT("{\"type\":\"object\",\"additionalProperties\":false}"),
    // Ask for every answer: a 200 may carry a refusal.
    .interpret = INTERPRET_WHEN_ALWAYS,
  };
}

// Event in, request out: true with a plan, false with a problem. Here the payload goes on byte for byte;
// `json_parse` and `json_at` read it, `put_open`, `put_text` and so on write something else.
// `return skip(plan, why)` sends nothing, `return refuse(problem, code, why)` says that something is wrong.
bool transform(event_t *event, delivery_info_t *delivery, endpoint_t *endpoint, attempt_t *attempt, plan_t *plan,
               problem_t *problem) {
  (void)delivery, (void)attempt, (void)problem; // not used here
  http_request_t *request = post(plan, endpoint->url, event->data);
  header(request, "content-type", event->content_type);
  header(request, "x-event-id", event->id);
  return true;
}

// Answer in, verdict out.
void interpret(exchange_t *exchange, verdict_t *verdict) {
  text_t error;
  const json_t *answer = json_parse(payload_text(exchange->response.body));
  if (json_text(json_at(answer, "/error"), &error)) {
    // Final: the same again would be refused again. `VERDICT(RETRY, .retry = {.reason = why})` asks for another try.
    *verdict = VERDICT(FAIL, .fail = {TEXT("refused_by_partner"), error, false});
  } else {
    // 2xx is success, anything else is tried again.
    *verdict = by_status(&exchange->response);
  }
}
