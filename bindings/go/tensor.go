package ortshard

// #include "abi_generated.h"
import "C"

import (
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

// A FramePart is one of the values that a frame carries.
type FramePart struct {
	Role   Role
	Values Tensor
}

// FrameParts are what a frame carries, part by part.
func FrameParts(frame []byte) ([]FramePart, error) {
	info, err := ReadFrameInfo(frame)
	var parts []FramePart
	for index := uint32(0); index < info.PartCount && err == nil; index++ {
		var role C.int32_t
		var values C.ortshard_tensor
		var pinner runtime.Pinner
		pinner.Pin(&frame[0]) // the tensor points into it
		err = plain(func(_ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			status := C.ortshard_go_frame_get_part(f, unsafe.Pointer(&frame[0]), C.size_t(len(frame)), C.uint32_t(index), &role, &values)
			if status == 0 {
				parts = append(parts, FramePart{Role: Role(role), Values: getTensor(&values)})
			}
			return status
		})
		pinner.Unpin()
	}
	return parts, err
}
