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
		Interpret: engate.Always,
	}
}

// Transform is event in, request out. Here the payload goes on byte for byte; engate.Decode reads it, and
// engate.Text(string(body)) sends something else. engate.Skip(why) sends nothing.
func (plugin) Transform(event engate.Event, context engate.Context) (engate.Plan, error) {
	request := engate.Post(context.Endpoint.Url, event.ContentType, event.Data)
	request.Header("x-event-id", event.Id)
	return request.Send(), nil
}

// answer is what we read of a response's body.
type answer struct {
	Error string `json:"error"`
}

// Interpret is response in, verdict out.
func (plugin) Interpret(exchange engate.Exchange) engate.Verdict {
	said, err := engate.Decode[answer](exchange.Response.Body)
	if err == nil && said.Error != "" {
		// Final: the same again would be refused again. engate.Retry(why) asks for another try.
		return engate.Fail("refused_by_partner", said.Error, false)
	}
	// 2xx is success, anything else is tried again.
	return engate.ByStatus(exchange.Response)
}
