package ortshard

// #include "abi_generated.h"
import "C"

import (
	"context"
	"fmt"
	"iter"
	"unsafe"
)

// A Generation is a text in progress on requests that are a whole model together.
type Generation struct {
	object[*C.ortshard_generation]
}

// NewGeneration creates a generation on requests: one on a whole model, or one on each of its shards in turn. Without a
// tokenizer prompts are ids. Nil options are the defaults.
func NewGeneration(requests []*Request, tokenizer *Tokenizer, options *GenerationOptions) (*Generation, error) {
	handles, leave, err := enterAll(requests)
	if err != nil {
		return nil, err
	}
	defer leave()
	var words *C.ortshard_tokenizer
	if tokenizer != nil {
		if words, err = tokenizer.enter(false); err != nil {
			return nil, err
		}
		defer tokenizer.leave(false)
	}
	var handle *C.ortshard_generation
	err = plain(func(a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		list := unsafe.SliceData(handles)
		return C.ortshard_go_generation_create(f, list, C.size_t(len(handles)), words, options.c(a), &handle)
	})
	if err != nil {
		return nil, err
	}
	return ownedGeneration(handle), nil
}

func ownedGeneration(handle *C.ortshard_generation) *Generation {
	g := &Generation{}
	g.init(handle, "generation", func(handle *C.ortshard_generation) { C.ortshard_go_generation_free(handle) })
	return owned(g)
}

// NewRemoteGeneration creates a generation whose tokens the program runs by itself, in any way that gives the logits of a model of
// so many tokens. Before each step it asks for the pending tokens, runs them, and gives their logits; where nothing is pending,
// none. A shortContext that is not 0 is that of the model's [ShardInfo].
func NewRemoteGeneration(vocabSize, capacity uint32, shortContext uint64, tokenizer *Tokenizer, options *GenerationOptions) (*Generation, error) {
	var words *C.ortshard_tokenizer
	if tokenizer != nil {
		var err error
		if words, err = tokenizer.enter(false); err != nil {
			return nil, err
		}
		defer tokenizer.leave(false)
	}
	var handle *C.ortshard_generation
	err := plain(func(a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		size, room, border := C.uint32_t(vocabSize), C.uint32_t(capacity), C.uint64_t(shortContext)
		return C.ortshard_go_generation_create_remote(f, size, room, border, words, options.c(a), &handle)
	})
	if err != nil {
		return nil, err
	}
	return ownedGeneration(handle), nil
}

// Pending are the tokens that are to be run before the next step of a remote generation.
func (g *Generation) Pending() ([]int64, error) {
	return filled(usual, func(place *int64, capacity C.size_t, needed *C.size_t) error {
		return g.do(true, func(generation *C.ortshard_generation, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			return C.ortshard_go_generation_pending(f, generation, (*C.int64_t)(place), capacity, needed)
		})
	})
}

// Candidates is how many of the largest logits decide a token.
func (g *Generation) Candidates() (int, error) {
	var count C.size_t
	err := g.do(true, func(generation *C.ortshard_generation, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_generation_candidates(f, generation, &count)
	})
	return int(count), err
}

// StepWith is the next step of a remote generation, with all logits of the run and nil tokens, or with the largest logits in falling
// order and their tokens.
func (g *Generation) StepWith(logits []float32, tokens []int64) (step Step, err error) {
	if tokens != nil && len(tokens) != len(logits) {
		message := fmt.Sprintf("there are %d logits, but %d tokens", len(logits), len(tokens))
		return step, &Error{Status: ErrInvalidArgument, Message: message}
	}
	err = g.do(true, func(generation *C.ortshard_generation, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		c := C.ortshard_step{struct_size: C.sizeof_ortshard_step}
		list, count := ids(tokens)
		status := C.ortshard_go_generation_step_with(f, generation, list, (*C.float)(unsafe.SliceData(logits)), max(count, C.size_t(len(logits))), &c)
		step = getStep(&c)
		return status
	})
	return step, err
}

// Close frees the generation; its requests are their owner's again.
func (g *Generation) Close() { g.close() }

// AppendText adds text to the prompt: before the first step, or after the text has ended.
func (g *Generation) AppendText(text string, addSpecial bool) error {
	return g.do(true, func(generation *C.ortshard_generation, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_generation_append_text(f, generation, a.text(text, "text"), flag(addSpecial))
	})
}

// AppendIDs adds tokens to the prompt.
func (g *Generation) AppendIDs(tokens []int64) error {
	return g.do(true, func(generation *C.ortshard_generation, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		list, count := ids(tokens)
		return C.ortshard_go_generation_append_ids(f, generation, list, count)
	})
}

// Prefill runs the next so many tokens of the prompt, and gives the number of those left.
func (g *Generation) Prefill(most uint64) (left uint64, err error) {
	var count C.size_t
	err = g.do(true, func(generation *C.ortshard_generation, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_generation_prefill(f, generation, C.size_t(most), &count)
	})
	return uint64(count), err
}

// Step gives the next token and the text that it makes certain. A context that ends meanwhile ends the text.
func (g *Generation) Step(ctx context.Context) (step Step, err error) {
	handle, err := g.enter(true)
	if err != nil {
		return step, err
	}
	defer g.leave(true)
	cancel := func() {
		_ = plain(func(_ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			return C.ortshard_go_generation_cancel(f, handle)
		})
	}
	cancelled, err := during(ctx, cancel, func() error {
		return plain(func(_ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			c := C.ortshard_step{struct_size: C.sizeof_ortshard_step}
			status := C.ortshard_go_generation_step(f, handle, &c)
			step = getStep(&c)
			return status
		})
	})
	if err == nil && cancelled && step.Finish == FinishCancelled {
		err = ctx.Err()
	}
	return step, err
}

// Steps steps until the text ends.
func (g *Generation) Steps(ctx context.Context) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		for {
			step, err := g.Step(ctx)
			if !yield(step, err) || err != nil || step.Finish != FinishNone {
				return
			}
		}
	}
}

// StepBatch steps many generations at once. The error is that of the call as a whole; each generation has its own.
func StepBatch(generations []*Generation) ([]Outcome[Step], error) {
	handles := make([]*C.ortshard_generation, len(generations))
	for at, generation := range generations {
		if generation == nil {
			return nil, &Error{Status: ErrNullArgument, Message: fmt.Sprintf("generations[%d] is nil", at)}
		}
		handle, err := generation.enter(true)
		if err != nil {
			return nil, err
		}
		defer generation.leave(true)
		handles[at] = handle
	}
	if len(handles) == 0 {
		return nil, nil
	}
	steps, statuses := make([]C.ortshard_step, len(handles)), make([]C.ortshard_status, len(handles))
	for at := range steps {
		steps[at].struct_size, statuses[at] = C.sizeof_ortshard_step, unset
	}
	err := plain(func(_ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_generation_step_batch(f, &handles[0], C.size_t(len(handles)), &steps[0], &statuses[0])
	})
	outcomes := make([]Outcome[Step], len(handles))
	for at, status := range statuses {
		if status == unset {
			return nil, err
		}
		if outcomes[at].Err = told(status, unsafe.Pointer(handles[at])); status == 0 {
			outcomes[at].Value = getStep(&steps[at])
		}
	}
	return outcomes, nil
}

// Fork makes another generation that goes on from here on its own, on forks of the requests. What the last step gave is not in it.
func (g *Generation) Fork() (*Generation, error) {
	var handle *C.ortshard_generation
	err := g.do(true, func(generation *C.ortshard_generation, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_generation_fork(f, generation, &handle)
	})
	if err != nil {
		return nil, err
	}
	return ownedGeneration(handle), nil
}

// ExportState is all that the generation needs to go on, to be kept or sent.
func (g *Generation) ExportState() ([]byte, error) {
	return filled(usual, func(place *byte, capacity C.size_t, needed *C.size_t) error {
		return g.do(true, func(generation *C.ortshard_generation, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			return C.ortshard_go_generation_export_state(f, generation, unsafe.Pointer(place), capacity, needed)
		})
	})
}

// ImportState puts the generation where the one was that exported the state, and that was made with the same options.
func (g *Generation) ImportState(state []byte) error {
	return g.do(true, func(generation *C.ortshard_generation, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_generation_import_state(f, generation, unsafe.Pointer(unsafe.SliceData(state)), C.size_t(len(state)))
	})
}

// Logits are those that the last token was chosen from, with the option KeepLogits.
func (g *Generation) Logits() ([]float32, error) {
	return filled(usual, func(place *float32, capacity C.size_t, needed *C.size_t) error {
		return g.do(true, func(generation *C.ortshard_generation, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			return C.ortshard_go_generation_logits(f, generation, (*C.float)(place), capacity, needed)
		})
	})
}

// Cancel ends the text with the step in progress, or the next one. A context does it, too.
func (g *Generation) Cancel() error {
	return g.do(false, func(generation *C.ortshard_generation, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_generation_cancel(f, generation)
	})
}
