package ortshard

// #include "abi_generated.h"
import "C"

import (
	"encoding/json"
	"unsafe"
)

// ChatText is the prompt that the model's chat template makes of messages: a [Message] list, or anything that is one as JSON. A
// string is JSON itself.
func (t *Tokenizer) ChatText(messages any, options *ChatOptions) (string, error) {
	written, err := asJSON(messages)
	if err != nil {
		return "", err
	}
	return withoutNUL(filled(usual, func(place *byte, capacity C.size_t, needed *C.size_t) error {
		return t.do(false, func(tokenizer *C.ortshard_tokenizer, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
			list, text := a.text(written, "messages"), (*C.char)(unsafe.Pointer(place))
			return C.ortshard_go_tokenizer_chat_text(f, tokenizer, list, options.c(a), text, capacity, needed)
		})
	}))
}

// ChatIDs are the token ids of [Tokenizer.ChatText].
func (t *Tokenizer) ChatIDs(messages any, options *ChatOptions) ([]int64, error) {
	written, err := asJSON(messages)
	if err != nil {
		return nil, err
	}
	return filled(usual, func(place *int64, capacity C.size_t, needed *C.size_t) error {
		return t.do(false, func(tokenizer *C.ortshard_tokenizer, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
			list := a.text(written, "messages")
			return C.ortshard_go_tokenizer_chat_ids(f, tokenizer, list, options.c(a), (*C.int64_t)(place), capacity, needed)
		})
	})
}

func asJSON(value any) (string, error) {
	if text, ok := value.(string); ok {
		return text, nil
	}
	text, err := json.Marshal(value)
	return string(text), err
}

// A Message is one of a chat.
type Message struct {
	Role             string     `json:"role"`
	Content          any        `json:"content,omitempty"`
	ReasoningContent string     `json:"reasoning_content,omitempty"`
	ToolCalls        []ToolCall `json:"tool_calls,omitempty"`
	ToolCallID       string     `json:"tool_call_id,omitempty"`
	Name             string     `json:"name,omitempty"`
}

// A ToolCall is what an assistant's message asks for.
type ToolCall struct {
	Type     string `json:"type"`
	ID       string `json:"id,omitempty"`
	Function struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	} `json:"function"`
}

// A ChatParser parses a model's answer while it is written.
type ChatParser struct {
	object[*C.ortshard_chat_parser]
}

// NewChatParser creates a parser. Nil options: by the format that the chat template tells.
func NewChatParser(tokenizer *Tokenizer, options *ChatParserOptions) (*ChatParser, error) {
	var handle *C.ortshard_chat_parser
	err := tokenizer.do(false, func(tokenizer *C.ortshard_tokenizer, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_chat_parser_create(f, tokenizer, options.c(a), &handle)
	})
	if err != nil {
		return nil, err
	}
	p := &ChatParser{}
	p.init(handle, "chat parser", func(handle *C.ortshard_chat_parser) { C.ortshard_go_chat_parser_free(handle) })
	return owned(p), nil
}

// Close frees the parser.
func (p *ChatParser) Close() { p.close() }

// Push takes more of the answer, in whole characters, and gives what it makes certain.
func (p *ChatParser) Push(text string) ([]ChatEvent, error) {
	if text == "" {
		return nil, nil
	}
	return p.events(func(parser *C.ortshard_chat_parser, f *C.ortshard_go_failure) C.ortshard_status {
		place := (*C.char)(unsafe.Pointer(unsafe.StringData(text)))
		return C.ortshard_go_chat_parser_push(f, parser, place, C.size_t(len(text)))
	})
}

// Finish says that the answer has ended, and gives what was held back.
func (p *ChatParser) Finish() ([]ChatEvent, error) {
	return p.events(func(parser *C.ortshard_chat_parser, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_chat_parser_finish(f, parser)
	})
}

func (p *ChatParser) events(call func(*C.ortshard_chat_parser, *C.ortshard_go_failure) C.ortshard_status) ([]ChatEvent, error) {
	var events []ChatEvent
	err := p.do(true, func(parser *C.ortshard_chat_parser, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		status := call(parser, f)
		for status == 0 {
			c := C.ortshard_chat_event{struct_size: C.sizeof_ortshard_chat_event}
			if status = C.ortshard_go_chat_parser_next(f, parser, &c); status != 0 || c.kind == C.int32_t(ChatEventNothing) {
				break
			}
			events = append(events, getChatEvent(&c))
		}
		return status
	})
	return events, err
}

// Message is the whole message so far.
func (p *ChatParser) Message() (message Message, err error) {
	text, err := filled(usual, func(place *byte, capacity C.size_t, needed *C.size_t) error {
		return p.do(true, func(parser *C.ortshard_chat_parser, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			return C.ortshard_go_chat_parser_message(f, parser, (*C.char)(unsafe.Pointer(place)), capacity, needed)
		})
	})
	if err == nil {
		err = json.Unmarshal(text[:len(text)-1], &message)
	}
	return message, err
}
