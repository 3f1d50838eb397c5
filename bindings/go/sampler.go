package ortshard

// #include "abi_generated.h"
import "C"

import (
	"unsafe"
)

// A Sampler chooses tokens from logits.
type Sampler struct {
	object[*C.ortshard_sampler]
}

// NewSampler creates a sampler. Nil options are the defaults; others start from [DefaultSamplerOptions].
func NewSampler(options *SamplerOptions) (*Sampler, error) {
	var handle *C.ortshard_sampler
	err := plain(func(a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_sampler_create(f, options.c(a), &handle)
	})
	if err != nil {
		return nil, err
	}
	s := &Sampler{}
	s.init(handle, "sampler", func(handle *C.ortshard_sampler) { C.ortshard_go_sampler_free(handle) })
	return owned(s), nil
}

// Close frees the sampler.
func (s *Sampler) Close() { s.close() }

// Accept adds tokens to the text so far that the sampler has not chosen: a prompt.
func (s *Sampler) Accept(tokens []int64) error {
	return s.do(true, func(sampler *C.ortshard_sampler, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		list, count := ids(tokens)
		return C.ortshard_go_sampler_accept(f, sampler, list, count)
	})
}

// Sample chooses the next token from logits.
func (s *Sampler) Sample(logits []float32) (int64, error) {
	var id C.int64_t
	err := s.do(true, func(sampler *C.ortshard_sampler, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_sampler_sample(f, sampler, (*C.float)(unsafe.SliceData(logits)), C.size_t(len(logits)), &id)
	})
	return int64(id), err
}

// Reset puts the sampler back to its start.
func (s *Sampler) Reset() error {
	return s.do(true, func(sampler *C.ortshard_sampler, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_sampler_reset(f, sampler)
	})
}
