package ortshard

import (
	"context"
	"errors"
	"iter"
)

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
