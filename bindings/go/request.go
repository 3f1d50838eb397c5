package ortshard

// #include "abi_generated.h"
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"unsafe"
)

// A Request is a sequence of tokens on a shard: a KV cache and a position in it.
type Request struct {
	object[*C.ortshard_request]
}

func newRequest(handle **C.ortshard_request, err error) (*Request, error) {
	if err != nil {
		return nil, err
	}
	r := &Request{}
	r.init(*handle, "request", func(handle *C.ortshard_request) { C.ortshard_go_request_free(handle) })
	return owned(r), nil
}

// Close frees the request at the end of the call that uses it.
func (r *Request) Close() { r.close() }

// Position is how many tokens were run.
func (r *Request) Position() (uint64, error) {
	var position C.uint64_t
	err := r.do(false, func(request *C.ortshard_request, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_request_position(f, request, &position)
	})
	return uint64(position), err
}

// Capacity is how many tokens there is room for.
func (r *Request) Capacity() (uint64, error) {
	var capacity C.uint64_t
	err := r.do(false, func(request *C.ortshard_request, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_request_capacity(f, request, &capacity)
	})
	return uint64(capacity), err
}

// Infer runs token ids, hidden states or a frame through the shard, and gives logits, hidden states or a frame.
func (r *Request) Infer(ctx context.Context, input Tensor, logits Logits) (Tensor, error) {
	return Chain{r}.Infer(ctx, input, logits)
}

// Sample runs an input through the shard, which must be the model's last, and has the sampler choose the token that follows. A
// nil sampler takes the likeliest.
func (r *Request) Sample(ctx context.Context, input Tensor, sampler *Sampler) (int64, error) {
	return Chain{r}.Sample(ctx, input, sampler)
}

// Logits runs token ids through a shard of all layers, and gives the last one's logits.
func (r *Request) Logits(ctx context.Context, ids []int64) ([]float32, error) {
	output, err := r.Infer(ctx, IDs(ids...), LogitsLast)
	return output.Float32s(), err
}

// Truncate forgets every token from position on.
func (r *Request) Truncate(position uint64) error {
	return r.do(true, func(request *C.ortshard_request, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_request_truncate(f, request, C.uint64_t(position))
	})
}

// Fork makes another request with the same tokens behind it.
func (r *Request) Fork() (*Request, error) {
	var handle *C.ortshard_request
	return newRequest(&handle, r.do(true, func(request *C.ortshard_request, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_request_fork(f, request, &handle)
	}))
}

// ExportState is the request's state, to be kept or sent.
func (r *Request) ExportState() ([]byte, error) {
	return filled(usual, func(place *byte, capacity C.size_t, needed *C.size_t) error {
		return r.do(true, func(request *C.ortshard_request, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			return C.ortshard_go_request_export_state(f, request, unsafe.Pointer(place), capacity, needed)
		})
	})
}

// ExportStateSince is what the request's state has gained since it was at a position.
func (r *Request) ExportStateSince(since uint64) ([]byte, error) {
	return filled(usual, func(place *byte, capacity C.size_t, needed *C.size_t) error {
		return r.do(true, func(request *C.ortshard_request, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			return C.ortshard_go_request_export_state_since(f, request, C.uint64_t(since), unsafe.Pointer(place), capacity, needed)
		})
	})
}

// ImportState puts the request where the one was that exported the state. A request at a position takes what another has
// gained since it.
func (r *Request) ImportState(state []byte) error {
	return r.do(true, func(request *C.ortshard_request, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_request_import_state(f, request, unsafe.Pointer(unsafe.SliceData(state)), C.size_t(len(state)))
	})
}

// Cancel cancels the run in progress or, if none is, the next one. A context does it for one run.
func (r *Request) Cancel() error {
	return r.do(false, func(request *C.ortshard_request, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_request_cancel(f, request)
	})
}

// ClearCancel takes back a cancellation that met no run.
func (r *Request) ClearCancel() error {
	return r.do(false, func(request *C.ortshard_request, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_request_clear_cancel(f, request)
	})
}

// A Chain is requests on consecutive shards, which run as one model.
type Chain []*Request

// Infer runs an input through the shards in turn, and gives what the last one gives.
func (c Chain) Infer(ctx context.Context, input Tensor, logits Logits) (Tensor, error) {
	var output Tensor
	err := c.run(ctx, input, func(list **C.ortshard_request, given *C.ortshard_tensor, f *C.ortshard_go_failure) C.ortshard_status {
		var out C.ortshard_tensor
		var status C.ortshard_status
		if len(c) == 1 {
			status = C.ortshard_go_request_infer(f, *list, given, C.int32_t(logits), &out)
		} else {
			status = C.ortshard_go_chain_infer(f, list, C.size_t(len(c)), given, C.int32_t(logits), &out)
		}
		if status == 0 {
			output = getTensor(&out)
		}
		return status
	})
	return output, err
}

// Sample runs an input through the shards in turn, and has the sampler choose the token that follows. A nil sampler takes the
// likeliest.
func (c Chain) Sample(ctx context.Context, input Tensor, sampler *Sampler) (int64, error) {
	var chooser *C.ortshard_sampler
	if sampler != nil {
		handle, err := sampler.enter(true)
		if err != nil {
			return 0, err
		}
		defer sampler.leave(true)
		chooser = handle
	}
	var id C.int64_t
	err := c.run(ctx, input, func(list **C.ortshard_request, given *C.ortshard_tensor, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_chain_sample(f, list, C.size_t(len(c)), given, chooser, &id)
	})
	return int64(id), err
}

func (c Chain) run(
	ctx context.Context, input Tensor, call func(**C.ortshard_request, *C.ortshard_tensor, *C.ortshard_go_failure) C.ortshard_status,
) error {
	handles, leave, err := enterAll(c)
	if err != nil {
		return err
	}
	defer leave()
	var pinner runtime.Pinner
	defer pinner.Unpin()
	var given C.ortshard_tensor
	if err := input.put(&given, &pinner); err != nil {
		return err
	}
	each := func(call func(*C.ortshard_go_failure, *C.ortshard_request) C.ortshard_status) {
		for _, handle := range handles {
			_ = plain(func(_ *arena, f *C.ortshard_go_failure) C.ortshard_status { return call(f, handle) })
		}
	}
	cancel := func() {
		each(func(f *C.ortshard_go_failure, request *C.ortshard_request) C.ortshard_status {
			return C.ortshard_go_request_cancel(f, request)
		})
	}
	cancelled, err := during(ctx, cancel, func() error {
		return plain(func(_ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			return call(unsafe.SliceData(handles), &given, f)
		})
	})
	if cancelled {
		// One that came too late would meet the next run.
		each(func(f *C.ortshard_go_failure, request *C.ortshard_request) C.ortshard_status {
			return C.ortshard_go_request_clear_cancel(f, request)
		})
	}
	return ended(ctx, cancelled, err)
}

// enterAll begins a call that needs all requests for itself.
func enterAll(requests []*Request) (handles []*C.ortshard_request, leave func(), err error) {
	leave = func() {
		for _, request := range requests[:len(handles)] {
			request.leave(true)
		}
	}
	for at, request := range requests {
		if request == nil {
			err = &Error{Status: ErrNullArgument, Message: fmt.Sprintf("requests[%d] is nil", at)}
		} else {
			var handle *C.ortshard_request
			if handle, err = request.enter(true); err == nil {
				handles = append(handles, handle)
				continue
			}
		}
		leave()
		return nil, nil, err
	}
	return handles, leave, nil
}
