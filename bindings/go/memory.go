package ortshard

// #include <stdlib.h>
// #include <string.h>
// #include "abi_generated.h"
import "C"

import (
	"fmt"
	"strings"
	"unsafe"
)

// An arena is memory of C that a call reads: structs, texts and lists. It is freed after the call, and the objects that the call
// uses are left.
type arena struct {
	places []unsafe.Pointer
	leave  []func()
}

// What cannot be told to C: a panic that ends a call before it is made, and becomes its error.
type untold struct{ err error }

func (a *arena) free() {
	for _, leave := range a.leave {
		leave()
	}
	for _, place := range a.places {
		C.free(place)
	}
}

func (a *arena) zeroed(count, size C.size_t) unsafe.Pointer {
	place := C.calloc(max(count, 1), max(size, 1))
	if place == nil {
		panic("ortshard: out of memory")
	}
	a.places = append(a.places, place)
	return place
}

func one[T any](a *arena) *T {
	var value T
	return (*T)(a.zeroed(1, C.size_t(unsafe.Sizeof(value))))
}

func many[T any](a *arena, count int) []T {
	var value T
	return unsafe.Slice((*T)(a.zeroed(C.size_t(count), C.size_t(unsafe.Sizeof(value)))), count)
}

// using is an object's handle, for which the call has it to itself.
func using[H comparable](a *arena, o *object[H]) H {
	handle, err := o.enter(true)
	if err != nil {
		panic(untold{err})
	}
	a.leave = append(a.leave, func() { o.leave(true) })
	return handle
}

// text is a text with its NUL. C would not see what stands behind another NUL, so there must be none.
func (a *arena) text(text, name string) *C.char {
	if strings.IndexByte(text, 0) >= 0 {
		panic(untold{&Error{Status: ErrInvalidArgument, Message: fmt.Sprintf("%s holds a NUL character", name)}})
	}
	place := C.CString(text)
	a.places = append(a.places, unsafe.Pointer(place))
	return place
}

func (a *arena) texts(texts []string, name string) (**C.char, C.size_t) {
	if len(texts) == 0 {
		return nil, 0
	}
	list := many[*C.char](a, len(texts))
	for at, text := range texts {
		list[at] = a.text(text, fmt.Sprintf("%s[%d]", name, at))
	}
	return &list[0], C.size_t(len(texts))
}

func (a *arena) ids(ids []int64) (*C.int64_t, C.size_t) {
	if len(ids) == 0 {
		return nil, 0
	}
	list := many[C.int64_t](a, len(ids))
	for at, id := range ids {
		list[at] = C.int64_t(id)
	}
	return &list[0], C.size_t(len(ids))
}

// each reads structs that stand one after another.
func each[C_, T any](first *C_, count C.size_t, get func(*C_) T) []T {
	if first == nil || count == 0 {
		return nil
	}
	values := make([]T, 0, int(count))
	for at := range unsafe.Slice(first, int(count)) {
		values = append(values, get(&unsafe.Slice(first, int(count))[at]))
	}
	return values
}

func ids(values []int64) (*C.int64_t, C.size_t) {
	return (*C.int64_t)(unsafe.SliceData(values)), C.size_t(len(values))
}

func flag(on bool) C.int32_t {
	if on {
		return 1
	}
	return 0
}
