// Package engate is what a plugin in Go is written with: the contract's own types, in contract.go, and what is here.
package engate

import (
	"encoding/hex"
	"encoding/json/v2"
	"errors"
	"fmt"
	"runtime"
	"unsafe"
)

// Plugin is what a plugin does: pure functions.
type Plugin interface {
	// Describe is asked once, when the plugin is installed.
	Describe() Manifest
	// Transform is event in, request out. Attempt.Now is the only clock there is.
	Transform(event Event, delivery DeliveryInfo, endpoint Endpoint, attempt Attempt) (Plan, error)
	// Interpret is response in, verdict out.
	Interpret(exchange Exchange) Verdict
}

var registered Plugin

// Register says what the plugin is; call it in an init function of package main.
func Register(plugin Plugin) { registered = plugin }

func interpret(exchange Exchange) Verdict {
	defer logPanic()
	return registered.Interpret(exchange)
}

func transform(event Event, delivery DeliveryInfo, endpoint Endpoint, attempt Attempt) Result[Plan, Problem] {
	defer logPanic()
	plan, err := registered.Transform(event, delivery, endpoint, attempt)
	if err == nil {
		return Ok[Plan, Problem](plan)
	}
	problem := Problem{Code: "plugin_error", Message: err.Error()}
	errors.As(err, &problem)
	return Err[Plan](problem)
}

// logPanic leaves the text of a panic in the plugin's log, and lets the panic go on.
func logPanic() {
	if reason := recover(); reason != nil {
		Log(LevelError, "%v", reason)
		panic(reason)
	}
}

// Log writes one line into the plugin's log.
func Log(level Level, format string, args ...any) { LogWrite(level, fmt.Sprintf(format, args...), nil) }

func (p Problem) Error() string { return p.Message }

// Refuse makes a Problem that no further attempt can cure; the code is snake_case.
func Refuse(code, format string, args ...any) error {
	return Problem{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Decode reads JSON.
func Decode[T any](payload Payload) (value T, err error) {
	if payload.Tag() != PayloadText {
		return value, errors.New("there is no text in it")
	}
	err = json.Unmarshal([]byte(payload.Text()), &value)
	return value, err
}

// Config reads a setting at a JSON Pointer; false: it is not configured, or not a T.
func Config[T any](pointer string) (value T, found bool) {
	value, err := Decode[T](MakePayloadText(ConfigGet(pointer).Some()))
	return value, err == nil
}

// Header adds a header; its name is in lower case.
func (r *HttpRequest) Header(name, value string) {
	r.Headers = append(r.Headers, Pair{F0: name, F1: value})
}

// HMACSHA256 signs data under a granted secret, as lower-case hex; the key stays with the engine.
func HMACSHA256(secret, data string) (string, error) {
	mac := SecretsHmacSha256(secret, []byte(data))
	if mac.Tag() == ResultOk {
		return hex.EncodeToString(mac.Ok()), nil
	}
	if why := mac.Err(); why.Tag() == SecretsErrorUnavailable {
		return "", Problem{"secret_unavailable", secret + " cannot be read now: " + why.Unavailable(), true}
	}
	return "", Refuse("secret_denied", "the secret %s is not there for this plugin: create it and grant it", secret)
}

// ByStatus is success for 2xx, and a retry for anything else.
func ByStatus(response HttpResponse) Verdict {
	if response.Status/100 == 2 {
		return MakeVerdictSuccess(None[string]())
	}
	return MakeVerdictRetry(Retry{Reason: fmt.Sprintf("HTTP status %d", response.Status)})
}

// ---- what contract.go stands on: the generic types of the contract, and memory

// Tuple2 is a pair; of a header, F0 is the name.
type Tuple2[A, B any] struct {
	F0 A
	F1 B
}

// The tags of an Option and a Result.
const OptionNone, OptionSome, ResultOk, ResultErr uint8 = 0, 1, 0, 1

// Option is Some(value) or None[T](); its method Some is the value, or a zero value where there is none.
type Option[T any] struct {
	tag   uint8
	value T
}

func Some[T any](value T) Option[T] { return Option[T]{OptionSome, value} }
func None[T any]() Option[T]        { return Option[T]{} }
func (o Option[T]) Tag() uint8      { return o.tag }
func (o Option[T]) Some() T         { return o.value }

// Result is Ok, a value, or Err, what went wrong.
type Result[T, E any] struct {
	tag   uint8
	value T
	err   E
}

func Ok[T, E any](value T) Result[T, E] { return Result[T, E]{value: value} }
func Err[T, E any](err E) Result[T, E]  { return Result[T, E]{tag: ResultErr, err: err} }
func (r Result[T, E]) Tag() uint8       { return r.tag }
func (r Result[T, E]) Ok() T            { return r.value }
func (r Result[T, E]) Err() E           { return r.err }

// What the engine passes in is only a number to Go until the generated code has made strings and slices of it, and unpins.
var passedIn runtime.Pinner

//go:wasmexport cabi_realloc
func cabiRealloc(_ unsafe.Pointer, _, _, size uint32) unsafe.Pointer {
	return allocate(&passedIn, uintptr(size), 0)
}

// allocate gives words, since no type of the contract is aligned to more, which stay until the pinner lets go of them.
func allocate(pinner *runtime.Pinner, size, _ uintptr) unsafe.Pointer {
	start := unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
	pinner.Pin(start)
	return start
}
