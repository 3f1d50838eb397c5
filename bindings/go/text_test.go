package ortshard

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const tokenizers = "../../tests/tokenizers"

func TestTextsAndIDsAreThoseOfTransformers(t *testing.T) {
	type texts struct {
		VocabSize int `json:"vocab_size"`
		Bytes     []string
		Encode    []struct {
			Text       string
			IDs, Plain []int64
			Ranges     [][2]int
			AsText     []int64 `json:"as_text"`
		}
	}
	for _, name := range []string{"qwen", "llama2", "gemma"} {
		g := readJSON[texts](t, filepath.Join(tokenizers, name, "golden.json"))
		tokenizer := must(OpenTokenizer(filepath.Join(tokenizers, name, "tokenizer.json")))
		if size := must(tokenizer.VocabSize()); size != g.VocabSize || len(g.Encode) < 10 {
			t.Fatal(size)
		}
		var all []string
		var plain []int64
		for _, each := range g.Encode {
			if strings.Contains(each.Text, "\x00") {
				continue
			}
			same(t, must(tokenizer.Encode(each.Text, &EncodeOptions{AddSpecial: true})), each.IDs)
			same(t, must(tokenizer.Encode(each.Text, nil)), each.Plain)
			same(t, must(tokenizer.Encode(each.Text, &EncodeOptions{SpecialAsText: true})), each.AsText)
			if count := must(tokenizer.Count(each.Text, nil)); count != len(each.Plain) {
				t.Fatal(each.Text, count)
			}
			for at, token := range must(tokenizer.EncodeWithRanges(each.Text, &EncodeOptions{AddSpecial: true})) {
				if token != (Token{each.IDs[at], each.Ranges[at][0], each.Ranges[at][1]}) {
					t.Fatal(each.Text, token)
				}
			}
			all, plain = append(all, each.Text), append(plain, each.Plain...)
			stream := must(NewTextStream(tokenizer, false))
			text := ""
			for _, id := range each.Plain {
				text += must(stream.Push(id))
			}
			if text += must(stream.Finish()); text != must(tokenizer.Decode(each.Plain, false)) {
				t.Fatalf("%s: %q", name, text)
			}
			stream.Close()
		}
		if lists := must(tokenizer.EncodeTexts(all, nil)); len(lists) != len(all) {
			t.Fatal(lists)
		} else {
			same(t, slices.Concat(lists...), plain)
		}
		for id, wanted := range g.Bytes {
			if bytes := must(tokenizer.TokenBytes(int64(id))); hex.EncodeToString(bytes) != wanted {
				t.Fatal(id, bytes)
			}
		}
		if id := must(tokenizer.TokenID(must(tokenizer.Token(5)))); id != 5 || must(tokenizer.TokenID("no token at all")) != NoID {
			t.Fatal(id)
		}
		tokenizer.Close()
	}
}

func TestALongTextComesBack(t *testing.T) {
	tokenizer := must(OpenTokenizer(filepath.Join(tokenizers, "qwen", "tokenizer.json")))
	defer tokenizer.Close()
	long := strings.Repeat("many words, ", 2000)
	ids := must(tokenizer.Encode(long, nil))
	if text := must(tokenizer.Decode(ids, false)); text != long || len(ids) < 5000 {
		t.Fatal(len(ids), len(text))
	}
}

// withTemplate is a tokenizer with a chat template.
func withTemplate(t *testing.T, name, template string) *Tokenizer {
	t.Helper()
	folder := t.TempDir()
	text, err := os.ReadFile(filepath.Join(tokenizers, name, "tokenizer.json"))
	ok(t, err)
	ok(t, os.WriteFile(filepath.Join(folder, "tokenizer.json"), text, 0o644))
	config := must(json.Marshal(map[string]any{"bos_token": "<s>", "eos_token": "</s>", "chat_template": template}))
	ok(t, os.WriteFile(filepath.Join(folder, "tokenizer_config.json"), config, 0o644))
	return must(OpenTokenizer(folder))
}

func TestChatsAreThoseOfTransformers(t *testing.T) {
	type chats struct {
		Tokenizers []string
		Templates  []any
		Messages   []string
		Options    []struct {
			Tools, Documents, Variables, Template string
			ContinueField                         string `json:"continue_field"`
			AddGenerationPrompt                   bool   `json:"add_generation_prompt"`
		}
		Cases [][]any
	}
	g := readJSON[chats](t, filepath.Join(tokenizers, "chats.json"))
	whole := 0
	for _, each := range g.Cases[:200] {
		template, isText := g.Templates[int(each[1].(float64))].(string)
		text, succeeds := each[4].(string)
		if !isText || !succeeds {
			continue
		}
		whole++
		tokenizer := withTemplate(t, g.Tokenizers[int(each[0].(float64))], template)
		given := g.Options[int(each[3].(float64))]
		options := &ChatOptions{
			Tools: given.Tools, Documents: given.Documents, Variables: given.Variables, TemplateName: given.Template,
			ContinueField: given.ContinueField, AddGenerationPrompt: given.AddGenerationPrompt,
		}
		messages := g.Messages[int(each[2].(float64))]
		if found := must(tokenizer.ChatText(messages, options)); found != text {
			t.Fatalf("%q, not %q", found, text)
		}
		same(t, must(tokenizer.ChatIDs(messages, options)), must(tokenizer.Encode(text, nil)))
		tokenizer.Close()
	}
	if whole < 20 {
		t.Fatal(whole)
	}
}

func TestAnswersAreParsedAsInTransformers(t *testing.T) {
	tokenizer := must(OpenTokenizer(filepath.Join(tokenizers, "qwen", "tokenizer.json")))
	defer tokenizer.Close()
	// A message without what may differ: white space around texts, ids, and keys that say nothing.
	plain := func(message Message) (string, string, []any) {
		content, _ := message.Content.(string)
		var calls []any
		for _, call := range message.ToolCalls {
			var arguments any
			ok(t, json.Unmarshal(call.Function.Arguments, &arguments))
			calls = append(calls, []any{call.Function.Name, arguments})
		}
		return strings.TrimSpace(content), strings.TrimSpace(message.ReasoningContent), calls
	}
	type answer struct {
		Format, Prompt, Text, Tools string
		Message                     Message
	}
	for _, each := range readJSON[[]answer](t, filepath.Join(tokenizers, "answers.json")) {
		for _, size := range []int{1, 7, len(each.Text)} {
			parser := must(NewChatParser(tokenizer, &ChatParserOptions{Format: each.Format, Prompt: each.Prompt, Tools: each.Tools}))
			said := ""
			hear := func(events []ChatEvent) {
				for _, event := range events {
					if event.Kind == ChatEventContent {
						said += event.Text
					}
				}
			}
			for text := each.Text; text != ""; {
				end := min(size, len(text))
				for end < len(text) && !utf8.RuneStart(text[end]) {
					end++
				}
				hear(must(parser.Push(text[:end])))
				text = text[end:]
			}
			hear(must(parser.Finish()))
			message := must(parser.Message())
			content, reasoning, calls := plain(message)
			wantedContent, wantedReasoning, wantedCalls := plain(each.Message)
			if content != wantedContent || reasoning != wantedReasoning || !reflect.DeepEqual(calls, wantedCalls) {
				t.Fatalf("%s: %q: %+v", each.Format, each.Text, message)
			}
			if whole, _ := message.Content.(string); said != whole {
				t.Fatalf("%q, not %q", said, whole)
			}
			parser.Close()
		}
	}
}

func TestAModelAnswersMessages(t *testing.T) {
	model := must(Open(background, stories, nil))
	defer model.Close()
	answer := model.Chat([]Message{{Role: "user", Content: "One morning"}}, nil, &GenerationOptions{Sampling: &SamplerOptions{}, MaxNewTokens: 20})
	text := ""
	for event, err := range answer.Events(background) {
		ok(t, err)
		text += event.Text
	}
	if len(text) < 20 || answer.Message.Content != text || answer.Message.Role != "assistant" || answer.Finish != FinishLength {
		t.Fatalf("%q %+v", text, answer)
	}
}
