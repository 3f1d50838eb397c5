package ortshard

// #include "abi_generated.h"
//
// int32_t ortshard_go_told(ortshard_progress *progress, void *user_data);
// int32_t ortshard_go_file(ortshard_file *file, void *user_data);
//
// static ortshard_progress_callback ortshard_go_progress(void) { return (ortshard_progress_callback)ortshard_go_told; }
// static ortshard_file_callback ortshard_go_files(void) { return (ortshard_file_callback)ortshard_go_file; }
import "C"

import (
	"context"
	"errors"
	"runtime/cgo"
	"unsafe"
)

// WholeModel is the spec of all layers of a model: a folder, or a name on the hub.
func WholeModel(model string) ShardSpec {
	spec := DefaultShardSpec()
	spec.Model = model
	return spec
}

// Layers is the spec of some layers of a model, the last one included.
func Layers(model string, first, last uint32) ShardSpec {
	return ShardSpec{Model: model, FirstLayer: first, LastLayer: last}
}

// An Engine holds at most one shard of a model and replaces it safely. Its methods may be called from many goroutines.
type Engine struct {
	object[*C.ortshard_engine]
}

// NewEngine creates an engine without a shard. Nil options are the defaults.
func NewEngine(options *EngineOptions) (*Engine, error) {
	var handle *C.ortshard_engine
	err := plain(func(a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_engine_create(f, options.c(a), &handle)
	})
	if err != nil {
		return nil, err
	}
	e := &Engine{}
	e.init(handle, "engine", func(handle *C.ortshard_engine) { C.ortshard_go_engine_free(handle) })
	return owned(e), nil
}

// Close frees the engine, and its shard when nothing uses that any more.
func (e *Engine) Close() { e.close() }

// A telling is what a progress callback finds.
type telling struct {
	ctx      context.Context
	progress func(Progress) error
	err      error
	panicked any
}

//export ortshard_go_told
func ortshard_go_told(progress *C.ortshard_progress, data unsafe.Pointer) (stop C.int32_t) {
	t := (*(*cgo.Handle)(data)).Value().(*telling)
	// A panic must not pass through the library: it goes on behind the call.
	defer func() {
		if t.panicked = recover(); t.panicked != nil {
			stop = 1
		}
	}()
	if t.err = t.ctx.Err(); t.err == nil && t.progress != nil {
		t.err = t.progress(getProgress(progress))
	}
	if t.err != nil {
		return 1
	}
	return 0
}

type loading func(
	engine *C.ortshard_engine, a *arena, f *C.ortshard_go_failure, progress C.ortshard_progress_callback, data unsafe.Pointer,
) C.ortshard_status

// load makes a call that tells progress. An error of `progress`, or the context's, is that of the call.
func (e *Engine) load(ctx context.Context, progress func(Progress) error, call loading) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := &telling{ctx: ctx, progress: progress}
	handle := cgo.NewHandle(t)
	defer handle.Delete()
	err := e.do(false, func(engine *C.ortshard_engine, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return call(engine, a, f, C.ortshard_go_progress(), unsafe.Pointer(&handle))
	})
	if t.panicked != nil {
		panic(t.panicked)
	}
	if t.err != nil && errors.Is(err, ErrCancelled) {
		return t.err
	}
	return err
}

// EnsureShard makes the shard that spec names the engine's, and gives it. progress, unless nil, is told about each step; an
// error of its cancels the load and is returned.
func (e *Engine) EnsureShard(ctx context.Context, spec ShardSpec, progress func(Progress) error) (*Shard, error) {
	var handle *C.ortshard_shard
	return newShard(&handle, e.load(ctx, progress, func(
		engine *C.ortshard_engine, a *arena, f *C.ortshard_go_failure, told C.ortshard_progress_callback, data unsafe.Pointer,
	) C.ortshard_status {
		return C.ortshard_go_engine_ensure_shard(f, engine, spec.c(a), told, data, &handle)
	}))
}

// LoadCheckpoint puts other weights of the same model into the place of the engine's shard, and gives the new shard.
func (e *Engine) LoadCheckpoint(ctx context.Context, path string, progress func(Progress) error) (*Shard, error) {
	var handle *C.ortshard_shard
	return newShard(&handle, e.load(ctx, progress, func(
		engine *C.ortshard_engine, a *arena, f *C.ortshard_go_failure, told C.ortshard_progress_callback, data unsafe.Pointer,
	) C.ortshard_status {
		return C.ortshard_go_engine_load_checkpoint(f, engine, a.text(path, "path"), told, data, &handle)
	}))
}

// SaveCheckpoint saves the weights of the engine's shard as a safetensors file.
func (e *Engine) SaveCheckpoint(path string) error {
	return e.do(false, func(engine *C.ortshard_engine, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_engine_save_checkpoint(f, engine, a.text(path, "path"))
	})
}

// OpenTokenizer opens the tokenizer of a model.
func (e *Engine) OpenTokenizer(ctx context.Context, spec ShardSpec) (*Tokenizer, error) {
	var handle *C.ortshard_tokenizer
	return newTokenizer(&handle, e.load(ctx, nil, func(
		engine *C.ortshard_engine, a *arena, f *C.ortshard_go_failure, told C.ortshard_progress_callback, data unsafe.Pointer,
	) C.ortshard_status {
		return C.ortshard_go_engine_open_tokenizer(f, engine, spec.c(a), told, data, &handle)
	}))
}

// ModelInfo describes a model.
func (e *Engine) ModelInfo(ctx context.Context, spec ShardSpec) (ModelInfo, error) {
	c := C.ortshard_model_info{struct_size: C.sizeof_ortshard_model_info}
	err := e.load(ctx, nil, func(
		engine *C.ortshard_engine, a *arena, f *C.ortshard_go_failure, told C.ortshard_progress_callback, data unsafe.Pointer,
	) C.ortshard_status {
		return C.ortshard_go_engine_get_model_info(f, engine, spec.c(a), told, data, &c)
	})
	return getModelInfo(&c), err
}

// SamplerOptions are how a model's publisher wants its tokens chosen.
func (e *Engine) SamplerOptions(ctx context.Context, spec ShardSpec) (SamplerOptions, error) {
	c := C.ortshard_sampler_options{struct_size: C.sizeof_ortshard_sampler_options}
	err := e.load(ctx, nil, func(
		engine *C.ortshard_engine, a *arena, f *C.ortshard_go_failure, told C.ortshard_progress_callback, data unsafe.Pointer,
	) C.ortshard_status {
		return C.ortshard_go_engine_get_sampler_options(f, engine, spec.c(a), told, data, &c)
	})
	return getSamplerOptions(&c), err
}

// ModelEOS are the ids that end a text of a model.
func (e *Engine) ModelEOS(ctx context.Context, spec ShardSpec) ([]int64, error) {
	return filled(usual, func(place *int64, capacity C.size_t, needed *C.size_t) error {
		return e.load(ctx, nil, func(
			engine *C.ortshard_engine, a *arena, f *C.ortshard_go_failure, told C.ortshard_progress_callback, data unsafe.Pointer,
		) C.ortshard_status {
			return C.ortshard_go_engine_model_eos(f, engine, spec.c(a), told, data, (*C.int64_t)(place), capacity, needed)
		})
	})
}

// A File is one that a shard needs. Its path is empty if it is missing, its size 0 if that is not known.
type File struct {
	Name, Path string
	Size       uint64
	State      FileState
}

//export ortshard_go_file
func ortshard_go_file(file *C.ortshard_file, data unsafe.Pointer) C.int32_t {
	files := (*(*cgo.Handle)(data)).Value().(*[]File)
	*files = append(*files, File{
		Name: C.GoString(file.name), Path: C.GoString(file.path), Size: uint64(file.size), State: FileState(file.state),
	})
	return 0
}

// AuditFiles lists the files that a shard needs, and where on this machine they are. Nothing is fetched.
func (e *Engine) AuditFiles(spec ShardSpec) (files []File, err error) {
	handle := cgo.NewHandle(&files)
	defer handle.Delete()
	err = e.do(false, func(engine *C.ortshard_engine, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_engine_audit_files(f, engine, spec.c(a), C.ortshard_go_files(), unsafe.Pointer(&handle))
	})
	return files, err
}

// Boundary is what passes behind a layer of a model, and whether it can be cut there.
func (e *Engine) Boundary(ctx context.Context, spec ShardSpec, layer uint32) (Boundary, error) {
	c := C.ortshard_boundary{struct_size: C.sizeof_ortshard_boundary}
	err := e.load(ctx, nil, func(
		engine *C.ortshard_engine, a *arena, f *C.ortshard_go_failure, told C.ortshard_progress_callback, data unsafe.Pointer,
	) C.ortshard_status {
		return C.ortshard_go_engine_get_boundary(f, engine, spec.c(a), C.uint32_t(layer), told, data, &c)
	})
	return getBoundary(&c), err
}

// CurrentShard is the engine's shard; nil if it has none.
func (e *Engine) CurrentShard() (*Shard, error) {
	var handle *C.ortshard_shard
	err := e.do(false, func(engine *C.ortshard_engine, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_engine_current_shard(f, engine, &handle)
	})
	if err == nil && handle == nil {
		return nil, nil
	}
	return newShard(&handle, err)
}

// Estimate is what a shard and requests of so many tokens each would take.
func (e *Engine) Estimate(spec ShardSpec, context, requests uint32) (EngineEstimate, error) {
	c := C.ortshard_engine_estimate{struct_size: C.sizeof_ortshard_engine_estimate}
	err := e.do(false, func(engine *C.ortshard_engine, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_engine_get_estimate(f, engine, spec.c(a), C.uint32_t(context), C.uint32_t(requests), &c)
	})
	return getEngineEstimate(&c), err
}

// Plan cuts a model among devices: which one holds which layers, from the first stage to the last.
func (e *Engine) Plan(spec ShardSpec, options *PlanOptions) ([]PlanStage, error) {
	stages, err := filled(usual, func(place *C.ortshard_plan_stage, capacity C.size_t, needed *C.size_t) error {
		return e.do(false, func(engine *C.ortshard_engine, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
			return C.ortshard_go_engine_plan(f, engine, spec.c(a), options.c(a), place, capacity, needed)
		})
	})
	planned := make([]PlanStage, len(stages))
	for at := range stages {
		planned[at] = getPlanStage(&stages[at])
	}
	return planned, err
}

// Stats are what the engine has counted.
func (e *Engine) Stats() (EngineStats, error) {
	c := C.ortshard_engine_stats{struct_size: C.sizeof_ortshard_engine_stats}
	err := e.do(false, func(engine *C.ortshard_engine, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_engine_get_stats(f, engine, &c)
	})
	return getEngineStats(&c), err
}

// Clear gives back the memory of the engine's shard and of the requests on it.
func (e *Engine) Clear() error {
	return e.do(false, func(engine *C.ortshard_engine, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_engine_clear(f, engine)
	})
}

// ClearPackCache deletes every quantised shard from the engine's cache of them, and gives the bytes that were freed.
func (e *Engine) ClearPackCache() (freed uint64, err error) {
	var bytes C.uint64_t
	err = e.do(false, func(engine *C.ortshard_engine, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_engine_clear_pack_cache(f, engine, &bytes)
	})
	return uint64(bytes), err
}
