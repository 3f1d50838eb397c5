package ortshard

// #include "abi_generated.h"
import "C"

import (
	"fmt"
	"runtime"
	"unsafe"
)

// An Outcome is what one of many has come to.
type Outcome[T any] struct {
	Value T
	Err   error
}

// BatchInfer runs an input through one shard for each of many requests at once. Nil logits are those of the last token for all.
// The error is that of the call as a whole; each request has its own.
func BatchInfer(requests []*Request, inputs []Tensor, logits []Logits) ([]Outcome[Tensor], error) {
	if logits != nil && len(logits) != len(requests) {
		return nil, lengths("logits", len(logits), len(requests))
	}
	outputs := make([]C.ortshard_tensor, len(requests))
	return batch(requests, inputs, func(at int) Tensor { return getTensor(&outputs[at]) }, func(
		list **C.ortshard_request, given *C.ortshard_tensor, statuses *C.ortshard_status, f *C.ortshard_go_failure,
	) C.ortshard_status {
		var wanted *C.int32_t
		if len(logits) > 0 {
			wanted = (*C.int32_t)(&logits[0])
		}
		return C.ortshard_go_batch_infer(f, list, given, wanted, C.size_t(len(requests)), unsafe.SliceData(outputs), statuses)
	})
}

// BatchSample runs an input through one shard, the model's last, for each of many requests at once, and chooses the token that
// follows: with the request's own sampler or, without samplers or where it is nil, the likeliest.
func BatchSample(requests []*Request, inputs []Tensor, samplers []*Sampler) ([]Outcome[int64], error) {
	if samplers != nil && len(samplers) != len(requests) {
		return nil, lengths("samplers", len(samplers), len(requests))
	}
	choosers := make([]*C.ortshard_sampler, len(samplers))
	for at, sampler := range samplers {
		if sampler == nil {
			continue
		}
		handle, err := sampler.enter(true)
		if err != nil {
			return nil, err
		}
		defer sampler.leave(true)
		choosers[at] = handle
	}
	ids := make([]C.int64_t, len(requests))
	return batch(requests, inputs, func(at int) int64 { return int64(ids[at]) }, func(
		list **C.ortshard_request, given *C.ortshard_tensor, statuses *C.ortshard_status, f *C.ortshard_go_failure,
	) C.ortshard_status {
		var chosen **C.ortshard_sampler // an empty slice would be no NULL
		if len(choosers) > 0 {
			chosen = &choosers[0]
		}
		return C.ortshard_go_batch_sample(f, list, given, chosen, C.size_t(len(requests)), unsafe.SliceData(ids), statuses)
	})
}

func lengths(name string, count, requests int) error {
	return &Error{Status: ErrInvalidArgument, Message: fmt.Sprintf("there are %d requests, but %d %s", requests, count, name)}
}

// A status that no call gives: what fails as a whole leaves it.
const unset = -1

func batch[T any](
	requests []*Request, inputs []Tensor, value func(int) T,
	call func(**C.ortshard_request, *C.ortshard_tensor, *C.ortshard_status, *C.ortshard_go_failure) C.ortshard_status,
) ([]Outcome[T], error) {
	if len(inputs) != len(requests) {
		return nil, lengths("inputs", len(inputs), len(requests))
	}
	handles, leave, err := enterAll(requests)
	if err != nil || len(requests) == 0 {
		return nil, err
	}
	defer leave()
	var pinner runtime.Pinner
	defer pinner.Unpin()
	given := make([]C.ortshard_tensor, len(inputs))
	statuses := make([]C.ortshard_status, len(inputs))
	for at, input := range inputs {
		statuses[at] = unset
		if err := input.put(&given[at], &pinner); err != nil {
			return nil, err
		}
	}
	err = plain(func(_ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return call(&handles[0], &given[0], &statuses[0], f)
	})
	outcomes := make([]Outcome[T], len(requests))
	for at, status := range statuses {
		if status == unset {
			return nil, err
		}
		if outcomes[at].Err = told(status, unsafe.Pointer(handles[at])); status == 0 {
			outcomes[at].Value = value(at)
		}
	}
	return outcomes, nil
}
