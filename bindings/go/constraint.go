package ortshard

// #include "abi_generated.h"
import "C"

import (
	"unsafe"
)

// A Constraint is a grammar, and how far a text has come in it: which tokens may come next. A generation takes one in its options,
// or the grammar itself; a loop of one's own asks it: [Constraint.Mask], [Sampler.Sample], [Constraint.Advance].
type Constraint struct {
	object[*C.ortshard_constraint]
}

func newConstraint(handle **C.ortshard_constraint, err error) (*Constraint, error) {
	if err != nil {
		return nil, err
	}
	c := &Constraint{}
	c.init(*handle, "constraint", func(handle *C.ortshard_constraint) { C.ortshard_go_constraint_free(handle) })
	return owned(c), nil
}

// NewConstraint compiles a grammar at the start of a text. One of the eos ends the text; nil: those of the tokenizer.
func NewConstraint(tokenizer *Tokenizer, kind Grammar, grammar string, eos []int64) (*Constraint, error) {
	var handle *C.ortshard_constraint
	return newConstraint(&handle, tokenizer.do(false, func(words *C.ortshard_tokenizer, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		ends, count := a.ids(eos)
		return C.ortshard_go_constraint_create(f, words, C.int32_t(kind), a.text(grammar, "grammar"), ends, count, &handle)
	}))
}

// Close frees the constraint.
func (c *Constraint) Close() { c.close() }

// Clone makes another that goes on from here on its own, without compiling.
func (c *Constraint) Clone() (*Constraint, error) {
	var handle *C.ortshard_constraint
	return newConstraint(&handle, c.do(true, func(constraint *C.ortshard_constraint, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_constraint_clone(f, constraint, &handle)
	}))
}

// Mask sets the logits of the tokens that may not come next to minus infinity.
func (c *Constraint) Mask(logits []float32) error {
	return c.do(true, func(constraint *C.ortshard_constraint, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_constraint_mask(f, constraint, (*C.float)(unsafe.SliceData(logits)), C.size_t(len(logits)))
	})
}

// Advance takes the next token.
func (c *Constraint) Advance(id int64) error {
	return c.do(true, func(constraint *C.ortshard_constraint, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_constraint_advance(f, constraint, C.int64_t(id))
	})
}

// KnownIDs are the tokens that must come next, whatever the logits; often there are none.
func (c *Constraint) KnownIDs() ([]int64, error) {
	return filled(usual, func(place *int64, capacity C.size_t, needed *C.size_t) error {
		return c.do(true, func(constraint *C.ortshard_constraint, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			return C.ortshard_go_constraint_known_ids(f, constraint, (*C.int64_t)(place), capacity, needed)
		})
	})
}
