package ortshard

// #include "abi_generated.h"
import "C"

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
)

// An object holds a handle of the library: counts the calls that use it, and frees it when it is closed and they have ended.
type object[H comparable] struct {
	mu     sync.Mutex
	handle H
	free   func(H)
	kind   string
	calls  int
	// Whether a call needs it for itself.
	taken  bool
	closed bool
}

func (o *object[H]) init(handle H, kind string, free func(H)) {
	o.handle, o.kind, o.free = handle, kind, free
}

// enter begins a call. One that needs the object for itself keeps others of that kind out.
func (o *object[H]) enter(alone bool) (H, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var none H
	switch {
	case o.closed || o.handle == none:
		return none, &Error{Status: ErrInvalidState, Message: "the " + o.kind + " is closed"}
	case alone && o.taken:
		return none, &Error{Status: ErrInvalidState, Message: "the " + o.kind + " is in use by another call right now"}
	}
	o.calls++
	o.taken = o.taken || alone
	return o.handle, nil
}

func (o *object[H]) leave(alone bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls--
	if alone {
		o.taken = false
	}
	if o.closed && o.calls == 0 {
		o.free(o.handle)
	}
}

// close frees the handle now, or when the last call ends.
func (o *object[H]) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	var none H
	if o.closed || o.handle == none {
		return
	}
	o.closed = true
	if o.calls == 0 {
		o.free(o.handle)
	}
}

// do makes a call on the object.
func (o *object[H]) do(alone bool, call func(H, *arena, *C.ortshard_go_failure) C.ortshard_status) error {
	handle, err := o.enter(alone)
	if err != nil {
		return err
	}
	// The object is in use until here, so that no finalizer frees it before.
	defer o.leave(alone)
	return plain(func(a *arena, f *C.ortshard_go_failure) C.ortshard_status { return call(handle, a, f) })
}

// owned has the garbage collector close what is forgotten.
func owned[T interface{ Close() }](object T) T {
	runtime.SetFinalizer(object, T.Close)
	return object
}

// during makes a call that `cancel` stops if the context ends meanwhile. It tells whether that was so, and then the cancellation
// has been made: nothing of it comes later.
func during(ctx context.Context, cancel func(), call func() error) (cancelled bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		cancel()
	})
	err = call()
	if !stop() {
		<-done
		cancelled = true
	}
	return cancelled, err
}

// filled is what a call writes that tells how much it is. It is made again if that is more than guess.
func filled[T any](guess int, ask func(place *T, capacity C.size_t, needed *C.size_t) error) ([]T, error) {
	for room := max(guess, 1); ; {
		values := make([]T, room)
		var needed C.size_t
		err := ask(&values[0], C.size_t(room), &needed)
		if err == nil {
			return slices.Clone(values[:int(needed)]), nil
		}
		if !errors.Is(err, ErrBufferTooSmall) {
			return nil, err
		}
		room = int(needed)
	}
}

// usual is more than most texts and lists of ids have.
const usual = 4096

// withoutNUL is a text as C writes it.
func withoutNUL(text []byte, err error) (string, error) {
	if err != nil || len(text) == 0 {
		return "", err
	}
	return string(text[:len(text)-1]), nil
}

// ended is the error of a call that a context may have cancelled.
func ended(ctx context.Context, cancelled bool, err error) error {
	if cancelled && errors.Is(err, ErrCancelled) {
		return ctx.Err()
	}
	return err
}
