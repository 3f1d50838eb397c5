package ortshard

// #include "abi_generated.h"
import "C"

// A Shard is a loaded range of layers. Its methods may be called from many goroutines.
type Shard struct {
	object[*C.ortshard_shard]
}

func newShard(handle **C.ortshard_shard, err error) (*Shard, error) {
	if err != nil {
		return nil, err
	}
	s := &Shard{}
	s.init(*handle, "shard", func(handle *C.ortshard_shard) { C.ortshard_go_shard_free(handle) })
	return owned(s), nil
}

// Close gives the shard back; requests on it go on.
func (s *Shard) Close() { s.close() }

// Info is what the shard is and takes.
func (s *Shard) Info() (ShardInfo, error) {
	c := C.ortshard_shard_info{struct_size: C.sizeof_ortshard_shard_info}
	err := s.do(false, func(shard *C.ortshard_shard, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_shard_get_info(f, shard, &c)
	})
	return getShardInfo(&c), err
}

// ExportONNX saves the shard as an ONNX model.
func (s *Shard) ExportONNX(path string) error {
	return s.do(false, func(shard *C.ortshard_shard, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_shard_export_onnx(f, shard, a.text(path, "path"))
	})
}

// NewRequest makes a request at position 0. Nil options are the defaults.
func (s *Shard) NewRequest(options *RequestOptions) (*Request, error) {
	if options != nil && options.Output == OutputPieces {
		return nil, &Error{Status: ErrUnsupported, Message: "Output: frames come whole here (OutputFrame)"}
	}
	var handle *C.ortshard_request
	return newRequest(&handle, s.do(false, func(shard *C.ortshard_shard, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_request_create(f, shard, options.c(a), &handle)
	}))
}
