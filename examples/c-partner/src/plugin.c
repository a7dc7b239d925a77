// Tells the partner that an invoice was paid, in the partner's own words: ../../partner/README.md
#include "engate.h"
#include <string.h>
#include <time.h>

void describe(manifest_t *manifest) {
  static text_t event_types[] = {TEXT("invoice.paid")};
  static need_t secrets[] = {{TEXT("partner-key"), TEXT("signs x-partner-signature")}};
  *manifest = (manifest_t){
    .id = TEXT("c-partner"),
    .version = TEXT("0.1.0"),
    .title = TEXT("Invoices, in C"),
    .config_schema = TEXT("{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
                          "\"store\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":40},"
                          "\"utc_offset_minutes\":{\"type\":\"integer\",\"minimum\":-720,\"maximum\":840}}}"),
    .event_types = {event_types, 1},
    .interpret = INTERPRET_WHEN_ALWAYS,
    .secrets = {secrets, 1},
  };
}

// ---- reading what must be there; `wrong` keeps the first part that is not

static text_t text_at(const json_t *value, const char *pointer, const char **wrong) {
  text_t text = TEXT("");
  if (!json_text(json_at(value, pointer), &text) && !*wrong) *wrong = pointer;
  return text;
}

static int64_t integer_at(const json_t *value, const char *pointer, const char **wrong) {
  int64_t number = 0;
  if (!json_integer(json_at(value, pointer), &number) && !*wrong) *wrong = pointer;
  return number;
}

static bool refuse_part(problem_t *problem, const char *wrong) {
  return refuse(problem, "invalid_payload", text_format("%s is missing, or is not what it should be", wrong));
}

// ---- the partner's spellings

// "12345678909" in the mask "###.###.###-##" is "123.456.789-09"; false: it does not fit in.
static bool masked(text_t text, const char *mask, text_t *into) {
  size_t used = 0, len = strlen(mask);
  *into = (text_t){allocate(len), len};
  for (size_t i = 0; i < len; i++) {
    if (mask[i] != '#') into->ptr[i] = (uint8_t)mask[i];
    else if (used == text.len || text.ptr[used] >= 0x80) return false;
    else into->ptr[i] = text.ptr[used++];
  }
  return used == text.len;
}

// 123456789 is "R$ 1.234.567,89".
static text_t money(int64_t cents) {
  uint64_t amount = cents < 0 ? -(uint64_t)cents : (uint64_t)cents, whole = amount / 100;
  text_t text = text_format("%03d,%02d", (int)(whole % 1000), (int)(amount % 100));
  while (whole /= 1000) text = text_format("%03d.%.*s", (int)(whole % 1000), ARG(text));
  size_t zeros = text.ptr[0] != '0' ? 0 : text.ptr[1] != '0' ? 1 : 2;
  return text_format("%sR$ %s", cents < 0 ? "-" : "", (char *)text.ptr + zeros);
}

static int number_at(text_t text, size_t start, size_t len) {
  int number = 0;
  for (size_t i = start; i < start + len; i++) number = number * 10 + text.ptr[i] - '0';
  return number;
}

// "2025-02-20T12:30:00Z" is "20/02/2025 09:30" at -180 minutes; false: no such time.
static bool local_time(text_t utc, int64_t offset_minutes, text_t *into) {
  const char *shape = "0000-00-00T00:00:00Z";
  if (utc.len != strlen(shape)) return false;
  for (size_t i = 0; i < utc.len; i++) {
    bool digit = utc.ptr[i] >= '0' && utc.ptr[i] <= '9';
    if (shape[i] == '0' ? !digit : utc.ptr[i] != shape[i]) return false;
  }
  struct tm parts = {
    .tm_year = number_at(utc, 0, 4) - 1900, .tm_mon = number_at(utc, 5, 2) - 1, .tm_mday = number_at(utc, 8, 2),
    .tm_hour = number_at(utc, 11, 2), .tm_min = number_at(utc, 14, 2), .tm_sec = number_at(utc, 17, 2)};
  struct tm given = parts;
  time_t seconds = timegm(&parts); // turns February 30 into March 2
  if (parts.tm_mon != given.tm_mon || parts.tm_mday != given.tm_mday || parts.tm_sec != given.tm_sec) return false;
  seconds += offset_minutes * 60;
  gmtime_r(&seconds, &parts);
  *into = text_format("%02d/%02d/%04d %02d:%02d", parts.tm_mday, parts.tm_mon + 1, parts.tm_year + 1900,
                      parts.tm_hour, parts.tm_min);
  return true;
}

// ---- event in, request out

static void put_address(writer_t *out, const json_t *address, const char **wrong) {
  text_t zip;
  if (!masked(text_at(address, "/zip", wrong), "#####-###", &zip) && !*wrong) *wrong = "/zip";
  put_open(out, "endereco", '{');
  put_text(out, "municipio", text_at(address, "/city", wrong));
  put_text(out, "uf", text_at(address, "/state", wrong));
  put_text(out, "cep", zip);
  put_close(out, '}');
}

static void put_item(writer_t *out, const json_t *item, const char **wrong) {
  int64_t quantity = integer_at(item, "/quantity", wrong), unit = integer_at(item, "/unit_cents", wrong), total;
  if (__builtin_mul_overflow(quantity, unit, &total) && !*wrong) *wrong = "/quantity";
  put_open(out, NULL, '{');
  put_text(out, "codigo", text_at(item, "/sku", wrong));
  put_text(out, "descricao", text_at(item, "/description", wrong));
  put_raw(out, "quantidade", text_format("%lld", quantity));
  put_text(out, "total", money(total));
  put_close(out, '}');
}

bool transform(event_t *event, delivery_info_t *delivery, endpoint_t *endpoint, attempt_t *attempt, plan_t *plan,
               problem_t *problem) {
  (void)delivery;
  const json_t *root = json_parse(payload_text(event->data));
  if (!root) return refuse(problem, "invalid_payload", TEXT("the payload is not JSON"));

  const char *wrong = NULL;
  text_t number = text_at(root, "/invoice/number", &wrong);
  text_t currency = text_at(root, "/invoice/currency", &wrong);
  text_t name = text_at(root, "/customer/name", &wrong);
  text_t document = text_at(root, "/customer/document", &wrong);
  int64_t amount = integer_at(root, "/invoice/amount_cents", &wrong);
  int64_t offset = -180;
  json_integer(config("/utc_offset_minutes"), &offset);
  text_t issued;
  if (!local_time(text_at(root, "/invoice/issued_at", &wrong), offset, &issued) && !wrong) wrong = "/invoice/issued_at";
  const json_t *internal = json_at(root, "/invoice/internal"), *address = json_at(root, "/customer/address");
  const json_t *items = json_at(root, "/items");
  if (!wrong && (!items || items->kind != JSON_ARRAY)) wrong = "/items";
  if (wrong) return refuse_part(problem, wrong);

  if (internal && internal->kind == JSON_TRUE) return skip(plan, TEXT("internal invoice"));
  if (!text_same(currency, TEXT("BRL")))
    return refuse(problem, "unsupported_currency", text_format("only BRL is taken, not %.*s", ARG(currency)));
  text_t written;
  bool person = masked(document, "###.###.###-##", &written);
  if (!person && !masked(document, "##.###.###/####-##", &written))
    return refuse(problem, "invalid_payload", TEXT("customer.document has neither 11 nor 14 digits"));

  writer_t out = {0};
  put_open(&out, NULL, '{');
  put_text(&out, "documento", number);
  put_text(&out, "emissao", issued);
  put_text(&out, "valor", money(amount));
  put_text(&out, "moeda", currency);
  put_open(&out, "cliente", '{');
  put_text(&out, "nome", name);
  put_text(&out, person ? "cpf" : "cnpj", written);
  if (address && address->kind != JSON_NULL) put_address(&out, address, &wrong);
  put_close(&out, '}');
  put_open(&out, "itens", '[');
  for (const json_t *item = items->first; item; item = item->next) put_item(&out, item, &wrong);
  put_close(&out, ']');
  put_close(&out, '}');
  if (wrong) return refuse_part(problem, wrong);

  text_t seconds = text_format("%llu", attempt->now / 1000), signature, store;
  text_t signed_text = text_format("%.*s.%.*s", ARG(seconds), ARG(out.text));
  if (!hmac_sha256("partner-key", signed_text, &signature, problem)) return false;
  http_request_t *request = post(plan, endpoint->url, payload_of(out.text));
  header(request, "content-type", TEXT("application/json"));
  if (json_text(config("/store"), &store)) header(request, "x-partner-store", store);
  header(request, "x-partner-timestamp", seconds);
  header(request, "x-partner-signature", text_format("sha256=%.*s", ARG(signature)));
  plan->val.send.memo = (option_string_t){true, number};
  return true;
}

// ---- response in, verdict out

static text_t lower_case(text_t text) {
  text_t lower = text_format("%.*s", ARG(text));
  for (size_t i = 0; i < lower.len; i++)
    if (lower.ptr[i] >= 'A' && lower.ptr[i] <= 'Z') lower.ptr[i] += 'a' - 'A';
  return lower;
}

static verdict_t judge(const exchange_t *exchange) {
  uint16_t status = exchange->response.status;
  bool good = status >= 200 && status < 300;
  if (status == 410) return VERDICT(DISABLE_ENDPOINT, .disable_endpoint = TEXT("the partner is gone"));

  const json_t *answer = json_parse(payload_text(exchange->response.body));
  text_t result = TEXT(""), code, detail = TEXT("");
  json_text(json_at(answer, "/resultado"), &result);
  bool taken = text_same(result, TEXT("ok")), refused = text_same(result, TEXT("erro"));
  if (good && taken && json_text(json_at(answer, "/protocolo"), &detail)) return VERDICT(SUCCESS, .success = {true, detail});
  if (refused && json_text(json_at(answer, "/codigo"), &code)) {
    if (text_same(code, TEXT("DUPLICADO"))) return VERDICT(SUCCESS, .success = exchange->memo);
    if (text_same(code, TEXT("OCUPADO"))) return VERDICT(RETRY, .retry = {{true, 30000}, TEXT("the partner is busy")});
    json_text(json_at(answer, "/mensagem"), &detail);
    return VERDICT(FAIL, .fail = {text_format("partner_%.*s", ARG(lower_case(code))), detail, false});
  }
  if (good) return VERDICT(FAIL, .fail = {TEXT("unreadable_answer"), TEXT("the answer is not the partner's JSON"), true});
  if (status == 429 || status >= 500) return by_status(&exchange->response);
  return VERDICT(FAIL, .fail = {TEXT("http_status"), text_format("HTTP status %d", status), false});
}

void interpret(exchange_t *exchange, verdict_t *verdict) { *verdict = judge(exchange); }
