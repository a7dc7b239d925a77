// Package runtime gives the generated code memory that the engine may write to and read from.
//
// What the engine passes in comes from chunks. Until the generated code has made strings and slices of it, Go knows it
// only as numbers, so a list keeps the chunks that long. After that each string keeps its own chunk alive.
package runtime

import (
	"runtime"
	"unsafe"
)

const (
	chunkSize = 256 << 10
	alignment = 8 // no type of the contract asks for more
)

var (
	rest []byte   // what is left of the newest chunk
	used [][]byte // the ends of those before it
)

//go:wasmexport cabi_realloc
func cabiRealloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	if old != nil || align > alignment {
		panic("cabi_realloc: the contract has nothing that grows or needs such alignment")
	}
	size = (size + alignment - 1) &^ (alignment - 1)
	if int(size) > len(rest) {
		used = append(used, rest)
		rest = make([]byte, max(chunkSize, size))
	}
	start := unsafe.Pointer(unsafe.SliceData(rest))
	rest = rest[size:]
	return start
}

// Unpin is called when the arguments of a call have become strings and slices.
func Unpin() { used = nil }

// Allocate gives memory for an answer, which stays where it is until the pinner lets go of it.
func Allocate(pinner *runtime.Pinner, size, _ uintptr) unsafe.Pointer {
	if size == 0 {
		return nil
	}
	start := unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
	pinner.Pin(start)
	return start
}
