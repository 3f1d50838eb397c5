package ortshard

import (
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const schema = `{"type": "object", "properties": {"name": {"enum": ["fox", "owl"]}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
	"required": ["name", "age"], "additionalProperties": false}`

// written is a text under options, at random from a seed.
func written(t *testing.T, model *Model, seed uint64, options GenerationOptions) string {
	t.Helper()
	sampling := DefaultSamplerOptions()
	sampling.TopK, sampling.Seed = 0, seed
	options.Sampling = &sampling
	var text strings.Builder
	for piece, err := range model.Generate(background, "A fox", &options) {
		ok(t, err)
		text.WriteString(piece)
	}
	return text.String()
}

func TestTextsMatchTheirGrammar(t *testing.T) {
	model := must(Open(background, stories, nil))
	defer model.Close()
	digits, answers := regexp.MustCompile(`^[a-z ]{5,9}[0-9]$`), regexp.MustCompile(`^(yes|no!+)$`)
	for seed := range uint64(5) {
		var told struct {
			Name string
			Age  *int
		}
		text := written(t, model, seed, GenerationOptions{Grammar: schema, GrammarKind: GrammarJSONSchema})
		if err := json.Unmarshal([]byte(text), &told); err != nil || told.Age == nil || *told.Age > 99 || told.Name != "fox" && told.Name != "owl" {
			t.Fatalf("%q %v", text, err)
		}
		if text := written(t, model, seed, GenerationOptions{Grammar: "[a-z ]{5,9}[0-9]", GrammarKind: GrammarRegex}); !digits.MatchString(text) {
			t.Fatal(text)
		}
		if text := written(t, model, seed, GenerationOptions{Grammar: `start: "yes" | "no" "!"+`, GrammarKind: GrammarLark}); !answers.MatchString(text) {
			t.Fatal(text)
		}
	}
	_, err := model.NewGeneration(&GenerationOptions{Grammar: "(", GrammarKind: GrammarRegex})
	fails(t, err, ErrInvalidArgument, "regular expression")
}

func TestAConstraintRulesOutTokensInALoopOfOnesOwn(t *testing.T) {
	model := must(Open(background, stories, nil))
	defer model.Close()
	numbers := regexp.MustCompile(`^(one|two), (one|two)$`)
	compiled := must(NewConstraint(model.Tokenizer, GrammarRegex, "(one|two), (one|two)", nil))
	own := must(compiled.Clone())
	defer own.Close()
	request, sampler := requestOf(t, model.Shard, nil), must(NewSampler(nil))
	input, tokens := must(model.Tokenizer.Encode("Say", &EncodeOptions{AddSpecial: true})), []int64{}
	for {
		logits, known := must(request.Logits(background, input)), must(own.KnownIDs())
		ok(t, own.Mask(logits))
		id := must(sampler.Sample(logits))
		if len(known) > 0 {
			id = known[0]
		}
		if math.IsInf(float64(logits[id]), -1) {
			t.Fatal(known, id)
		}
		ok(t, own.Advance(id))
		if must(model.Tokenizer.IsEOS(id)) {
			break
		}
		input, tokens = []int64{id}, append(tokens, id)
	}
	if text := must(model.Tokenizer.Decode(tokens, false)); !numbers.MatchString(text) {
		t.Fatal(text)
	}
	fails(t, own.Advance(tokens[0]), ErrInvalidArgument, "ended")

	// Many texts of one that was compiled once.
	for seed := range uint64(3) {
		if text := written(t, model, seed, GenerationOptions{Constraint: compiled}); !numbers.MatchString(text) {
			t.Fatal(text)
		}
	}
	_, err := model.NewGeneration(&GenerationOptions{Constraint: compiled, Grammar: "x", GrammarKind: GrammarRegex})
	fails(t, err, ErrInvalidArgument, "so is constraint")
	compiled.Close()
	_, err = model.NewGeneration(&GenerationOptions{Constraint: compiled})
	fails(t, err, ErrInvalidState, "closed")
	_, err = NewConstraint(model.Tokenizer, GrammarJSONSchema, `{"minLength": -1}`, nil)
	fails(t, err, ErrInvalidArgument, "minLength")
}

func TestGenerationsGoOnInForksAndStates(t *testing.T) {
	g := goldenOf(t, tiny)
	shard := shardOf(t, WholeModel(tiny), nil)
	on := func(options *GenerationOptions) *Generation {
		generation := must(NewGeneration([]*Request{requestOf(t, shard, nil)}, nil, options))
		t.Cleanup(generation.Close)
		return generation
	}
	rest := func(generation *Generation) (tokens []int64) {
		for step, err := range generation.Steps(background) {
			ok(t, err)
			tokens = append(tokens, step.ID)
		}
		return tokens
	}
	generation, elsewhere := on(always(uint32(len(g.Greedy)))), on(always(uint32(len(g.Greedy))))
	ok(t, generation.AppendIDs(g.Prompt))
	same(t, []int64{must(generation.Step(background)).ID}, g.Greedy[:1])
	fork, state := must(generation.Fork()), must(generation.ExportState())
	defer fork.Close()
	ok(t, elsewhere.ImportState(state))
	for _, each := range []*Generation{generation, fork, elsewhere} {
		same(t, rest(each), g.Greedy[1:])
	}
	other := on(always(3))
	fails(t, other.ImportState(state), ErrInvalidArgument, "max_new_tokens")
	state[len(state)/2] ^= 1
	fails(t, other.ImportState(state), ErrMalformed, ".")
	ok(t, other.AppendIDs(g.Prompt))
	same(t, rest(other), g.Greedy[:3])
}

func TestAProgramRunsTheTokensOfAGenerationByItself(t *testing.T) {
	g := goldenOf(t, tiny)
	shard := shardOf(t, WholeModel(tiny), nil)
	for _, onlyLargest := range []bool{false, true} {
		generation := must(NewRemoteGeneration(128, 256, 0, nil, always(uint32(len(g.Greedy)))))
		defer generation.Close()
		ok(t, generation.AppendIDs(g.Prompt))
		if count := must(generation.Candidates()); count != 1 {
			t.Fatal(count)
		}
		_, err := generation.Step(background)
		fails(t, err, ErrInvalidState, ".")
		request, tokens := requestOf(t, shard, nil), []int64{}
		for step := (Step{}); step.Finish != FinishLength; tokens = append(tokens, step.ID) {
			logits, most := must(request.Logits(background, must(generation.Pending()))), []int64(nil)
			if onlyLargest {
				largest := slices.Index(logits, slices.Max(logits))
				logits, most = logits[largest:largest+1], []int64{int64(largest)}
			}
			step = must(generation.StepWith(logits, most))
		}
		same(t, tokens, g.Greedy)
		same(t, must(generation.Pending()), nil)
		if step := must(generation.StepWith(nil, nil)); step.Finish != FinishLength {
			t.Fatal(step)
		}
		_, err = generation.StepWith([]float32{1, 2}, []int64{1})
		fails(t, err, ErrInvalidArgument, "2 logits, but 1 tokens")
	}
	_, err := NewRemoteGeneration(0, 1, 0, nil, nil)
	fails(t, err, ErrInvalidArgument, "vocab_size")
}

func TestAGrammarGoesOnInForksAndStates(t *testing.T) {
	model := must(Open(background, stories, nil))
	defer model.Close()
	word := regexp.MustCompile(`^[a-z]{30}[0-9]$`)
	options := &GenerationOptions{Grammar: "[a-z]{30}[0-9]", GrammarKind: GrammarRegex}
	generation, elsewhere := must(model.NewGeneration(options)), must(model.NewGeneration(options))
	ok(t, generation.AppendText("A fox", true))
	text := ""
	for range 3 {
		text += must(generation.Step(background)).Text
	}
	ok(t, elsewhere.ImportState(must(generation.ExportState())))
	for _, each := range []*Generation{must(generation.Fork()), elsewhere} {
		more := text
		for step, err := range each.Steps(background) {
			ok(t, err)
			more += step.Text
		}
		if !word.MatchString(more) {
			t.Fatal(more)
		}
		each.Close()
	}
	generation.Close()
}
