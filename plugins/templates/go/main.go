// Command {{name}} is an Engate plugin. A plugin is two pure functions: Transform says what to send, Interpret says what
// an answer means. The engine does everything that acts: HTTP, credentials, retries, storage.
package main

import "example.com/{{name}}/engate"

type plugin struct{}

func init() { engate.Register(plugin{}) }

func main() {} // never called: the engine calls the plugin that is registered above

// Describe is asked once, when the plugin is installed. More to say: EventTypes, Secrets, Hosts.
func (plugin) Describe() engate.Manifest {
	return engate.Manifest{
		Id:           "{{name}}",
		Version:      "0.1.0",
		Title:        "{{name}}",
		ConfigSchema: `{"type":"object","additionalProperties":false}`,
		// Ask for every answer: a 200 may carry a refusal.
		Interpret: engate.InterpretWhenAlways,
	}
}

// Transform is event in, request out. Here the payload goes on byte for byte; engate.Decode reads it, and
// engate.MakePayloadText(string(body)) is something else to send. engate.MakePlanSkip(why) sends nothing.
func (plugin) Transform(event engate.Event, delivery engate.DeliveryInfo, endpoint engate.Endpoint, attempt engate.Attempt) (engate.Plan, error) {
	request := engate.HttpRequest{Method: "POST", Url: endpoint.Url, Body: event.Data}
	request.Header("content-type", event.ContentType)
	request.Header("x-event-id", event.Id)
	return engate.MakePlanSend(engate.Outgoing{Request: request}), nil
}

// answer is what we read of a response's body.
type answer struct {
	Error string `json:"error"`
}

// Interpret is response in, verdict out.
func (plugin) Interpret(exchange engate.Exchange) engate.Verdict {
	said, err := engate.Decode[answer](exchange.Response.Body)
	if err == nil && said.Error != "" {
		// Final: the same again would be refused again. engate.MakeVerdictRetry asks for another try.
		return engate.MakeVerdictFail(engate.Problem{Code: "refused_by_partner", Message: said.Error})
	}
	// 2xx is success, anything else is tried again.
	return engate.ByStatus(exchange.Response)
}
