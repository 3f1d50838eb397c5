package ortshard

// #include <stdlib.h>
// #include "abi_generated.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// Status says what kind of failure it was; it is an error itself, for errors.Is. Later libraries may have further ones: treat
// one that is unknown as one of its hundred.
type Status int32

// Error is the name of the status.
func (s Status) Error() string {
	if Load("") != nil {
		return fmt.Sprintf("ortshard: status %d", int32(s))
	}
	return C.GoString(C.ortshard_go_status_name(C.ortshard_status(s)))
}

// Error is what went wrong in a call. Messages are for people: they may change, statuses do not.
type Error struct {
	Status  Status
	Message string
	// Where memory ran out, if it did.
	OOM *OOM
}

func (e *Error) Error() string { return "ortshard: " + e.Message }

// Unwrap is the status, for errors.Is.
func (e *Error) Unwrap() error { return e.Status }

// taken is the error of a call, and frees what C has of it.
func taken(status C.ortshard_status, f *C.ortshard_go_failure) error {
	if status == 0 {
		return nil
	}
	err := &Error{Status: Status(status), Message: C.GoString(f.message)}
	C.free(unsafe.Pointer(f.message))
	if f.oom.site != 0 {
		oom := getOOM(&f.oom)
		err.OOM = &oom
	}
	return err
}

// told is the error of an object among others of one call, which it keeps itself.
func told(status C.ortshard_status, object unsafe.Pointer) error {
	if status == 0 {
		return nil
	}
	err := &Error{Status: Status(status)}
	var f C.ortshard_go_failure
	var needed C.size_t
	if taken(C.ortshard_go_error_message(&f, object, nil, 0, &needed), &f) == nil && needed > 0 {
		text := make([]byte, needed)
		if taken(C.ortshard_go_error_message(&f, object, (*C.char)(unsafe.Pointer(&text[0])), needed, &needed), &f) == nil {
			err.Message = string(text[:needed-1])
		}
	}
	c := C.ortshard_oom{struct_size: C.sizeof_ortshard_oom}
	if err.Status == ErrOutOfMemory && taken(C.ortshard_go_error_get_oom(&f, object, &c), &f) == nil {
		oom := getOOM(&c)
		err.OOM = &oom
	}
	return err
}

// plain makes a call that is on no object.
func plain(call func(*arena, *C.ortshard_go_failure) C.ortshard_status) (err error) {
	if err := Load(""); err != nil {
		return err
	}
	a := &arena{}
	defer a.free()
	defer func() {
		switch panicked := recover().(type) {
		case nil:
		case untold:
			err = panicked.err
		default:
			panic(panicked)
		}
	}()
	var f C.ortshard_go_failure
	return taken(call(a, &f), &f)
}
