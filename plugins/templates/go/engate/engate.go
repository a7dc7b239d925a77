// Package engate is what a plugin in Go is written with.
package engate

import (
	"encoding/hex"
	"encoding/json/v2"
	"errors"
	"fmt"

	settings "example.com/{{name}}/engate/internal/bindings/engate_plugin_config"
	delivery "example.com/{{name}}/engate/internal/bindings/engate_plugin_delivery"
	logging "example.com/{{name}}/engate/internal/bindings/engate_plugin_log"
	plugin "example.com/{{name}}/engate/internal/bindings/engate_plugin_plugin"
	secrets "example.com/{{name}}/engate/internal/bindings/engate_plugin_secrets"
	state "example.com/{{name}}/engate/internal/bindings/engate_plugin_state"
	types "example.com/{{name}}/engate/internal/bindings/engate_plugin_types"
	_ "example.com/{{name}}/engate/internal/bindings/wit_exports"
	"example.com/{{name}}/engate/internal/exports"
	wit "example.com/{{name}}/engate/internal/wit/types"
)

// The contract's types.
type (
	Manifest = plugin.Manifest
	Need     = plugin.Need
	Event    = delivery.Event
	Delivery = delivery.DeliveryInfo
	Endpoint = delivery.Endpoint
	Attempt  = delivery.Attempt
	Exchange = delivery.Exchange
	Response = types.HttpResponse
	Payload  = types.Payload
	Plan     = delivery.Plan
	Verdict  = delivery.Verdict
)

// Which responses Interpret wants to see.
const (
	Never  = plugin.InterpretWhenNever
	Non2xx = plugin.InterpretWhenNon2xx
	Always = plugin.InterpretWhenAlways
)

// Context is what Transform knows beside the event. Attempt.Now is the only clock there is.
type Context struct {
	Delivery Delivery
	Endpoint Endpoint
	Attempt  Attempt
}

// Plugin is what a plugin does: pure functions.
type Plugin interface {
	// Describe is asked once, when the plugin is installed.
	Describe() Manifest
	// Transform is event in, request out.
	Transform(event Event, context Context) (Plan, error)
	// Interpret is response in, verdict out.
	Interpret(exchange Exchange) Verdict
}

// Register says what the plugin is; call it in an init function of package main.
func Register(p Plugin) {
	exports.Describe = p.Describe
	exports.Interpret = func(exchange delivery.Exchange) Verdict {
		defer logPanic()
		return p.Interpret(exchange)
	}
	exports.Transform = func(event Event, info Delivery, endpoint Endpoint, attempt Attempt) exports.Planned {
		defer logPanic()
		plan, err := p.Transform(event, Context{info, endpoint, attempt})
		if err == nil {
			return wit.Ok[Plan, types.Problem](plan)
		}
		problem := &Problem{Code: "plugin_error", Message: err.Error()}
		errors.As(err, &problem)
		return wit.Err[Plan](types.Problem(*problem))
	}
}

// logPanic leaves the text of a panic in the plugin's log, and lets the panic go on.
func logPanic() {
	if reason := recover(); reason != nil {
		Log(Error, "%v", reason)
		panic(reason)
	}
}

// Problem is a refusal: the delivery fails with it.
type Problem types.Problem

func (p *Problem) Error() string { return p.Message }

// Refuse makes a Problem that no further attempt can cure; the code is snake_case.
func Refuse(code, format string, args ...any) error {
	return &Problem{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Text makes a body of text.
func Text(text string) Payload { return types.MakePayloadText(text) }

// Decode reads JSON.
func Decode[T any](payload Payload) (value T, err error) {
	if payload.Tag() != types.PayloadText {
		return value, errors.New("there is no text in it")
	}
	err = json.Unmarshal([]byte(payload.Text()), &value)
	return value, err
}

// Request is an HTTP request in the making.
type Request struct{ outgoing delivery.Outgoing }

// Post begins a POST.
func Post(url string, contentType string, body Payload) *Request {
	request := &Request{delivery.Outgoing{Request: types.HttpRequest{Method: "POST", Url: url, Body: body}}}
	return request.Header("content-type", contentType)
}

// Header adds a header; its name is in lower case.
func (r *Request) Header(name, value string) *Request {
	r.outgoing.Request.Headers = append(r.outgoing.Request.Headers, types.Pair{F0: name, F1: value})
	return r
}

// Memo is handed back to Interpret; at most 4 KiB.
func (r *Request) Memo(memo string) *Request {
	r.outgoing.Memo = wit.Some(memo)
	return r
}

// Send is the plan to send the request.
func (r *Request) Send() Plan { return delivery.MakePlanSend(r.outgoing) }

// Skip is the plan to send nothing.
func Skip(reason string) Plan { return delivery.MakePlanSkip(reason) }

// Success says that the partner took it.
func Success() Verdict { return delivery.MakeVerdictSuccess(wit.None[string]()) }

// SuccessAs says so too, with the partner's own id for it.
func SuccessAs(partnerID string) Verdict { return delivery.MakeVerdictSuccess(wit.Some(partnerID)) }

// Retry asks for another attempt, by the engine's schedule.
func Retry(reason string) Verdict { return delivery.MakeVerdictRetry(types.Retry{Reason: reason}) }

// RetryAfter asks for one after so many milliseconds.
func RetryAfter(milliseconds uint64, reason string) Verdict {
	return delivery.MakeVerdictRetry(types.Retry{AfterMs: wit.Some(milliseconds), Reason: reason})
}

// Fail says that the partner refused it; without retryable there is no further attempt.
func Fail(code, message string, retryable bool) Verdict {
	return delivery.MakeVerdictFail(types.Problem{Code: code, Message: message, Retryable: retryable})
}

// DisableEndpoint says that nothing more should be sent there.
func DisableEndpoint(reason string) Verdict { return delivery.MakeVerdictDisableEndpoint(reason) }

// ByStatus is success for 2xx, and a retry for anything else.
func ByStatus(response Response) Verdict {
	if response.Status/100 == 2 {
		return Success()
	}
	return Retry(fmt.Sprintf("HTTP status %d", response.Status))
}

// Config reads a setting at a JSON Pointer; false: it is not configured, or not a T.
func Config[T any](pointer string) (value T, found bool) {
	text := settings.Get(pointer)
	if !text.IsSome() {
		return value, false
	}
	return value, json.Unmarshal([]byte(text.Some()), &value) == nil
}

// HMACSHA256 signs data under a granted secret, as lower-case hex; the key stays with the engine.
func HMACSHA256(secret, data string) (string, error) {
	mac := secrets.HmacSha256(secret, []byte(data))
	if !mac.IsErr() {
		return hex.EncodeToString(mac.Ok()), nil
	}
	if why := mac.Err(); why.Tag() == secrets.ErrorUnavailable {
		return "", &Problem{"secret_unavailable", secret + " cannot be read now: " + why.Unavailable(), true}
	}
	return "", Refuse("secret_denied", "the secret %s is not there for this plugin: create it and grant it", secret)
}

// State reads the plugin's private state under a key; nil: there is none.
func State(key string) ([]byte, error) {
	result := state.Get(key)
	if result.IsErr() {
		return nil, stateProblem(key, result.Err())
	}
	return result.Ok().Some(), nil
}

// SetState writes it. The engine keeps it together with the verdict, or not at all.
func SetState(key string, value []byte) error {
	if result := state.Put(key, value); result.IsErr() {
		return stateProblem(key, result.Err())
	}
	return nil
}

func stateProblem(key string, why state.Error) error {
	switch why.Tag() {
	case state.ErrorTooLarge:
		return Refuse("state_too_large", "the state under %s is too large", key)
	case state.ErrorQuota:
		return Refuse("state_quota", "no room is left for the state under %s", key)
	}
	return &Problem{"state_unavailable", "the state cannot be reached: " + why.Unavailable(), true}
}

// The levels of Log.
const (
	Debug = logging.LevelDebug
	Info  = logging.LevelInfo
	Warn  = logging.LevelWarn
	Error = logging.LevelError
)

// Log writes one line into the plugin's log.
func Log(level logging.Level, format string, args ...any) {
	logging.Write(level, fmt.Sprintf(format, args...), nil)
}
