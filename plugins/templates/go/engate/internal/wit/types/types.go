// Package types has the generic types that the generated code speaks of.
package types

// Unit is nothing at all.
type Unit struct{}

// Tuple2 is a pair.
type Tuple2[A, B any] struct {
	F0 A
	F1 B
}

// The tags of Option and Result.
const (
	OptionNone uint8 = iota
	OptionSome
)
const (
	ResultOk uint8 = iota
	ResultErr
)

// Option is a value that may be missing.
type Option[T any] struct {
	tag   uint8
	value T
}

// None is a missing value.
func None[T any]() Option[T] { return Option[T]{} }

// Some is a value that is there.
func Some[T any](value T) Option[T] { return Option[T]{OptionSome, value} }

func (o Option[T]) Tag() uint8   { return o.tag }
func (o Option[T]) IsSome() bool { return o.tag == OptionSome }

// Some is the value, or the zero value where it is missing.
func (o Option[T]) Some() T { return o.value }

// Result is a value or what went wrong.
type Result[T, E any] struct {
	tag uint8
	ok  T
	err E
}

// Ok is a value.
func Ok[T, E any](value T) Result[T, E] { return Result[T, E]{ok: value} }

// Err is what went wrong.
func Err[T, E any](err E) Result[T, E] { return Result[T, E]{tag: ResultErr, err: err} }

func (r Result[T, E]) Tag() uint8  { return r.tag }
func (r Result[T, E]) IsErr() bool { return r.tag == ResultErr }
func (r Result[T, E]) Ok() T       { return r.ok }
func (r Result[T, E]) Err() E      { return r.err }
