// Command go-partner tells the partner that an invoice was paid, in the partner's own words: ../partner/README.md
package main

import (
	"encoding/json/v2"
	"fmt"
	"strings"

	"example.com/go-partner/engate"
)

type partner struct{}

func init() { engate.Register(partner{}) }

func main() {} // never called: the engine calls the plugin that is registered above

const configSchema = `{"type":"object","additionalProperties":false,"properties":{` +
	`"store":{"type":"string","minLength":1,"maxLength":40},` +
	`"utc_offset_minutes":{"type":"integer","minimum":-720,"maximum":840}}}`

func (partner) Describe() engate.Manifest {
	return engate.Manifest{
		Id:           "go-partner",
		Version:      "0.1.0",
		Title:        "Invoices, in Go",
		ConfigSchema: configSchema,
		EventTypes:   []string{"invoice.paid"},
		Interpret:    engate.InterpretWhenAlways,
		Secrets:      []engate.Need{{Name: "partner-key", Purpose: "signs x-partner-signature"}},
	}
}

// Transform is event in, request out.
func (partner) Transform(event engate.Event, delivery engate.DeliveryInfo, endpoint engate.Endpoint, attempt engate.Attempt) (engate.Plan, error) {
	paid, err := engate.Decode[payment](event.Data)
	if err == nil {
		err = paid.check()
	}
	if err != nil {
		return engate.Plan{}, engate.Refuse("invalid_payload", "%v", err)
	}
	if paid.Invoice.Internal {
		return engate.MakePlanSkip("internal invoice"), nil
	}
	if paid.Invoice.Currency != "BRL" {
		return engate.Plan{}, engate.Refuse("unsupported_currency", "only BRL is taken, not %s", paid.Invoice.Currency)
	}
	offset, found := engate.Config[int]("/utc_offset_minutes")
	if !found {
		offset = -180
	}
	notice, err := translate(paid, offset)
	if err != nil {
		return engate.Plan{}, engate.Refuse("invalid_payload", "%v", err)
	}
	body, err := json.Marshal(notice)
	if err != nil {
		return engate.Plan{}, err
	}

	timestamp := fmt.Sprint(attempt.Now / 1000)
	signature, err := engate.HMACSHA256("partner-key", fmt.Sprintf("%s.%s", timestamp, body))
	if err != nil {
		return engate.Plan{}, err
	}
	request := engate.HttpRequest{Method: "POST", Url: endpoint.Url, Body: engate.MakePayloadText(string(body))}
	request.Header("content-type", "application/json")
	if store, found := engate.Config[string]("/store"); found {
		request.Header("x-partner-store", store)
	}
	request.Header("x-partner-timestamp", timestamp)
	request.Header("x-partner-signature", "sha256="+signature)
	return engate.MakePlanSend(engate.Outgoing{Request: request, Memo: engate.Some(paid.Invoice.Number)}), nil
}

// answer is what the partner says in the body.
type answer struct {
	Result   string  `json:"resultado"`
	Protocol *string `json:"protocolo"`
	Code     *string `json:"codigo"`
	Message  string  `json:"mensagem"`
}

// Interpret is response in, verdict out.
func (partner) Interpret(exchange engate.Exchange) engate.Verdict {
	status := exchange.Response.Status
	good := status/100 == 2
	said, _ := engate.Decode[answer](exchange.Response.Body) // what is not such JSON says nothing
	switch {
	case status == 410:
		return engate.MakeVerdictDisableEndpoint("the partner is gone")
	case good && said.Result == "ok" && said.Protocol != nil:
		return engate.MakeVerdictSuccess(engate.Some(*said.Protocol))
	case said.Result == "erro" && said.Code != nil:
		return refusal(*said.Code, said.Message, exchange.Memo)
	case good:
		return fail("unreadable_answer", "the answer is not the partner's JSON", true)
	case status == 429 || status >= 500:
		return engate.ByStatus(exchange.Response)
	default:
		return fail("http_status", fmt.Sprintf("HTTP status %d", status), false)
	}
}

func refusal(code, message string, number engate.Option[string]) engate.Verdict {
	switch code {
	case "DUPLICADO":
		return engate.MakeVerdictSuccess(number)
	case "OCUPADO":
		return engate.MakeVerdictRetry(engate.Retry{AfterMs: engate.Some[uint64](30_000), Reason: "the partner is busy"})
	default:
		return fail("partner_"+strings.ToLower(code), message, false)
	}
}

func fail(code, message string, retryable bool) engate.Verdict {
	return engate.MakeVerdictFail(engate.Problem{Code: code, Message: message, Retryable: retryable})
}
