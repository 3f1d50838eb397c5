package ortshard

// #include "abi_generated.h"
import "C"

import (
	"context"
	"errors"
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
	g := &Generation{}
	g.init(handle, "generation", func(handle *C.ortshard_generation) { C.ortshard_go_generation_free(handle) })
	return owned(g), nil
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

// A Model is a whole model with its tokenizer, which is nil if it has none.
type Model struct {
	Engine    *Engine
	Shard     *Shard
	Tokenizer *Tokenizer
}

// Open loads the model in a folder, or of a name on the hub. Nil options are the engine's defaults.
func Open(ctx context.Context, model string, options *EngineOptions) (*Model, error) {
	engine, err := NewEngine(options)
	if err != nil {
		return nil, err
	}
	m := &Model{Engine: engine}
	if m.Tokenizer, err = engine.OpenTokenizer(ctx, WholeModel(model)); err != nil && !errors.Is(err, ErrNotFound) {
		m.Close()
		return nil, err
	}
	if m.Shard, err = engine.EnsureShard(ctx, WholeModel(model), nil); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// Close gives the memory of shard, tokenizer and engine back.
func (m *Model) Close() {
	if m.Shard != nil {
		m.Shard.Close()
	}
	if m.Tokenizer != nil {
		m.Tokenizer.Close()
	}
	m.Engine.Close()
}

// NewGeneration creates a generation on a request of its own, which has the options' Request.
func (m *Model) NewGeneration(options *GenerationOptions) (*Generation, error) {
	own := GenerationOptions{}
	if options != nil {
		own = *options
	}
	request, err := m.Shard.NewRequest(own.Request)
	if err != nil {
		return nil, err
	}
	defer request.Close() // the generation keeps what it needs
	own.Request = nil
	return NewGeneration([]*Request{request}, m.Tokenizer, &own)
}

// Generate writes on behind a prompt, with the special tokens that the tokenizer puts around it: gives the text piece by piece.
func (m *Model) Generate(ctx context.Context, prompt string, options *GenerationOptions) iter.Seq2[string, error] {
	steps := m.steps(ctx, options, func(g *Generation) error { return g.AppendText(prompt, true) })
	return func(yield func(string, error) bool) {
		for step, err := range steps {
			if (step.Text != "" || err != nil) && !yield(step.Text, err) {
				return
			}
		}
	}
}

// Steps writes on behind token ids: gives each token with what is known of it.
func (m *Model) Steps(ctx context.Context, prompt []int64, options *GenerationOptions) iter.Seq2[Step, error] {
	return m.steps(ctx, options, func(g *Generation) error { return g.AppendIDs(prompt) })
}

func (m *Model) steps(ctx context.Context, options *GenerationOptions, prompt func(*Generation) error) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		generation, err := m.NewGeneration(options)
		if err != nil {
			yield(Step{}, err)
			return
		}
		defer generation.Close()
		if err := prompt(generation); err != nil {
			yield(Step{}, err)
			return
		}
		generation.Steps(ctx)(yield)
	}
}

// An Answer is one that is being written.
type Answer struct {
	// The whole message, and why it has ended, when Events are over.
	Message Message
	Finish  Finish

	events func(ctx context.Context, yield func(ChatEvent, error) bool)
}

// Events are the answer's parts as they become certain. They come once.
func (a *Answer) Events(ctx context.Context) iter.Seq2[ChatEvent, error] {
	return func(yield func(ChatEvent, error) bool) { a.events(ctx, yield) }
}

// Chat answers messages: a [Message] list, or anything that is one as JSON. Nil options are the defaults.
func (m *Model) Chat(messages any, chat *ChatOptions, options *GenerationOptions) *Answer {
	own, kept := ChatOptions{}, GenerationOptions{}
	if chat != nil {
		own = *chat
	}
	if options != nil {
		kept = *options
	}
	own.AddGenerationPrompt = own.ContinueField == ""
	kept.KeepSpecial = true
	answer := &Answer{}
	answer.events = func(ctx context.Context, yield func(ChatEvent, error) bool) {
		if err := m.answer(ctx, messages, &own, &kept, answer, yield); err != nil {
			yield(ChatEvent{}, err)
		}
	}
	return answer
}

func (m *Model) answer(
	ctx context.Context, messages any, chat *ChatOptions, options *GenerationOptions, answer *Answer, yield func(ChatEvent, error) bool,
) error {
	if m.Tokenizer == nil {
		return &Error{Status: ErrInvalidState, Message: "the model has no tokenizer"}
	}
	prompt, err := m.Tokenizer.ChatText(messages, chat)
	if err != nil {
		return err
	}
	tokens, err := m.Tokenizer.ChatIDs(messages, chat)
	if err != nil {
		return err
	}
	parser, err := NewChatParser(m.Tokenizer, &ChatParserOptions{Prompt: prompt, Tools: chat.Tools})
	if err != nil {
		return err
	}
	defer parser.Close()
	give := func(events []ChatEvent) bool {
		for _, event := range events {
			if !yield(event, nil) {
				return false
			}
		}
		return true
	}
	for step, err := range m.Steps(ctx, tokens, options) {
		if err != nil {
			return err
		}
		answer.Finish = step.Finish
		events, err := parser.Push(step.Text)
		if err != nil {
			return err
		}
		if !give(events) {
			return nil
		}
	}
	events, err := parser.Finish()
	if err != nil || !give(events) {
		return err
	}
	answer.Message, err = parser.Message()
	return err
}
