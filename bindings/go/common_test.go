package ortshard

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

const (
	stories = "../../models/stories"
	tiny    = "../../tests/models/llama_gqa"
)

func TestMain(m *testing.M) {
	if os.Getenv("ORTSHARD_LIBRARY") == "" {
		os.Setenv("ORTSHARD_LIBRARY", "../../target/release/libortshard.so")
	}
	os.Exit(m.Run())
}

type golden struct {
	folder string
	Prompt []int64 `json:"prompt_ids"`
	Greedy []int64 `json:"greedy_ids"`
}

func readJSON[T any](t *testing.T, path string) (value T) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &value)
	}
	if err != nil {
		t.Fatal(path, err)
	}
	return value
}

func goldenOf(t *testing.T, folder string) golden {
	t.Helper()
	g := readJSON[golden](t, filepath.Join(folder, "golden.json"))
	g.folder = folder
	return g
}

// must is the value of a call that does not fail here.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same[T comparable](t *testing.T, found, wanted []T) {
	t.Helper()
	if len(found) != len(wanted) {
		t.Fatalf("%v, not %v", found, wanted)
	}
	for at := range found {
		if found[at] != wanted[at] {
			t.Fatalf("%v, not %v", found, wanted)
		}
	}
}

// fails looks for an error of a status with such words.
func fails(t *testing.T, err error, status Status, words string) *Error {
	t.Helper()
	var own *Error
	if !errors.As(err, &own) || !errors.Is(err, status) {
		t.Fatalf("%v is not %v", err, status)
	}
	if !regexp.MustCompile(words).MatchString(own.Message) {
		t.Fatalf("%q does not say %q", own.Message, words)
	}
	return own
}

// greedy is what a step gives, token by token.
func greedy(t *testing.T, prompt []int64, count int, step func(Tensor) (int64, error)) []int64 {
	t.Helper()
	input, tokens := prompt, []int64{}
	for len(tokens) < count {
		id, err := step(IDs(input...))
		ok(t, err)
		tokens = append(tokens, id)
		input = []int64{id}
	}
	return tokens
}

func shardOf(t *testing.T, spec ShardSpec, options *EngineOptions) *Shard {
	t.Helper()
	engine, err := NewEngine(options)
	ok(t, err)
	defer engine.Close()
	shard, err := engine.EnsureShard(context.Background(), spec, nil)
	ok(t, err)
	t.Cleanup(shard.Close)
	return shard
}

func requestOf(t *testing.T, shard *Shard, options *RequestOptions) *Request {
	t.Helper()
	request, err := shard.NewRequest(options)
	ok(t, err)
	t.Cleanup(request.Close)
	return request
}

// always takes the likeliest token.
func always(count uint32) *GenerationOptions {
	return &GenerationOptions{Sampling: &SamplerOptions{}, MaxNewTokens: count, IgnoreEOS: true}
}
