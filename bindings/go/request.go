package ortshard

// #include "abi_generated.h"
import "C"

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"unsafe"
)

// A Tensor is values, row after row, in the machine's byte order; of a frame ([DtypeFrame]) its bytes.
type Tensor struct {
	Dtype Dtype
	Shape []int64
	Data  []byte
}

// IDs is a tensor of token ids, whose memory it shares.
func IDs(ids ...int64) Tensor {
	return Tensor{Dtype: DtypeI64, Shape: []int64{int64(len(ids))}, Data: unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(ids))), 8*len(ids))}
}

// Frame is a tensor of a frame's bytes.
func Frame(bytes []byte) Tensor {
	return Tensor{Dtype: DtypeFrame, Shape: []int64{int64(len(bytes))}, Data: bytes}
}

// Float32s is a tensor of numbers.
func Float32s(shape []int64, values []float32) Tensor {
	data := make([]byte, 0, 4*len(values))
	for _, value := range values {
		data = binary.NativeEndian.AppendUint32(data, math.Float32bits(value))
	}
	return Tensor{Dtype: DtypeF32, Shape: shape, Data: data}
}

// Float32s are the values of a tensor of [DtypeF32]; nil for another.
func (t Tensor) Float32s() []float32 {
	if t.Dtype != DtypeF32 {
		return nil
	}
	values := make([]float32, len(t.Data)/4)
	for at := range values {
		values[at] = math.Float32frombits(binary.NativeEndian.Uint32(t.Data[4*at:]))
	}
	return values
}

// put writes a tensor for C, which reads its values where they lie: they are pinned for the call.
func (t Tensor) put(c *C.ortshard_tensor, pinner *runtime.Pinner) error {
	if len(t.Shape) > len(c.shape) {
		return &Error{Status: ErrInvalidArgument, Message: fmt.Sprintf("the tensor has %d dimensions, and may have 4", len(t.Shape))}
	}
	c.dtype, c.rank, c.byte_length = C.int32_t(t.Dtype), C.uint32_t(len(t.Shape)), C.size_t(len(t.Data))
	for at, length := range t.Shape {
		c.shape[at] = C.int64_t(length)
	}
	if len(t.Data) > 0 {
		pinner.Pin(&t.Data[0])
		c.data = unsafe.Pointer(&t.Data[0])
	}
	return nil
}

// getTensor copies what a request lent.
func getTensor(c *C.ortshard_tensor) Tensor {
	t := Tensor{Dtype: Dtype(c.dtype), Shape: make([]int64, int(c.rank))}
	for at := range t.Shape {
		t.Shape[at] = int64(c.shape[at])
	}
	if c.data != nil {
		t.Data = append([]byte{}, unsafe.Slice((*byte)(c.data), int(c.byte_length))...)
	}
	return t
}

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

// ImportState puts the request where the one was that exported the state.
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
	cancel := func() {
		if len(c) > 0 {
			_ = c[0].Cancel()
		}
	}
	cancelled, err := during(ctx, cancel, func() error {
		return plain(func(_ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			return call(unsafe.SliceData(handles), &given, f)
		})
	})
	if cancelled {
		// One that came too late would meet the next run.
		for _, request := range c {
			_ = request.ClearCancel()
		}
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

// FrameSize is how many bytes the frame has that begins with start, of which [FrameStart] bytes are enough.
func FrameSize(start []byte) (uint64, error) {
	var size C.size_t
	err := plain(func(_ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_frame_size(f, unsafe.Pointer(unsafe.SliceData(start)), C.size_t(len(start)), &size)
	})
	return uint64(size), err
}

// ReadFrameInfo is what a frame says of itself.
func ReadFrameInfo(frame []byte) (FrameInfo, error) {
	c := C.ortshard_frame_info{struct_size: C.sizeof_ortshard_frame_info}
	err := plain(func(_ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_frame_get_info(f, unsafe.Pointer(unsafe.SliceData(frame)), C.size_t(len(frame)), &c)
	})
	return getFrameInfo(&c), err
}

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
