package ortshard

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

var background = context.Background()

func TestEveryModelGivesTheGreedyIDsOfTransformers(t *testing.T) {
	found, err := filepath.Glob("../../tests/models/*/golden.json")
	ok(t, err)
	if len(found) < 50 {
		t.Fatal(found)
	}
	for _, path := range found {
		g := goldenOf(t, filepath.Dir(path))
		model, err := Open(background, g.folder, nil)
		ok(t, err)
		var tokens []int64
		for step, err := range model.Steps(background, g.Prompt, always(uint32(len(g.Greedy)))) {
			ok(t, err)
			tokens = append(tokens, step.ID)
		}
		same(t, tokens, g.Greedy)
		model.Close()
	}
}

func TestRequestsLogitsAndSamplersGiveTheSameIDs(t *testing.T) {
	g := goldenOf(t, tiny)
	shard := shardOf(t, WholeModel(tiny), nil)
	one, two := requestOf(t, shard, nil), requestOf(t, shard, &RequestOptions{PrefillChunk: 5})
	same(t, greedy(t, g.Prompt, len(g.Greedy), func(input Tensor) (int64, error) {
		return one.Sample(background, input, nil)
	}), g.Greedy)
	sampler := must(NewSampler(&SamplerOptions{}))
	defer sampler.Close()
	input, tokens := g.Prompt, []int64{}
	for range g.Greedy {
		id := must(sampler.Sample(must(two.Logits(background, input))))
		input, tokens = []int64{id}, append(tokens, id)
	}
	same(t, tokens, g.Greedy)
	ok(t, sampler.Reset())
	ok(t, sampler.Accept(g.Prompt))
	if position := must(two.Position()); position != uint64(len(g.Prompt)+len(g.Greedy)-1) || must(two.Capacity()) < position {
		t.Fatal(position)
	}
}

func TestTwoShardsAreOne(t *testing.T) {
	g := goldenOf(t, tiny)
	last := must(ReadModelInfo(tiny)).LayerCount - 1
	pair := func(cut uint32, options *RequestOptions) Chain {
		front, back := shardOf(t, Layers(tiny, 0, cut), nil), shardOf(t, Layers(tiny, cut+1, last), nil)
		return Chain{requestOf(t, front, options), requestOf(t, back, nil)}
	}
	for name, through := range map[string]func(Chain, Tensor) (int64, error){
		"chain": func(c Chain, input Tensor) (int64, error) { return c.Sample(background, input, nil) },
		"hidden states": func(c Chain, input Tensor) (int64, error) {
			hidden, err := c[0].Infer(background, input, LogitsLast)
			if err != nil {
				return 0, err
			}
			return c[1].Sample(background, Float32s(hidden.Shape, hidden.Float32s()), nil)
		},
	} {
		c := pair(0, nil)
		tokens := greedy(t, g.Prompt, len(g.Greedy), func(input Tensor) (int64, error) { return through(c, input) })
		t.Log(name)
		same(t, tokens, g.Greedy)
	}
	c, plain := pair(1, &RequestOptions{Output: OutputFrame}), pair(1, nil)
	same(t, greedy(t, g.Prompt, len(g.Greedy), func(input Tensor) (int64, error) {
		frame := must(c[0].Infer(background, input, LogitsLast))
		if size := must(FrameSize(frame.Data[:FrameStart])); frame.Dtype != DtypeFrame || size != uint64(len(frame.Data)) {
			t.Fatal(frame.Dtype, size)
		}
		if info := must(ReadFrameInfo(frame.Data)); info.Position != must(c[1].Position()) || info.Layer != 1 {
			t.Fatal(info)
		}
		parts, hidden := must(FrameParts(frame.Data)), must(plain[0].Infer(background, input, LogitsLast))
		if len(parts) != 1 || parts[0].Role != RoleHiddenStates || !reflect.DeepEqual(parts[0].Values, hidden) {
			t.Fatal(parts)
		}
		return c[1].Sample(background, Frame(frame.Data), nil)
	}), g.Greedy)

	c = pair(0, nil)
	all := must(c.Infer(background, IDs(g.Prompt...), LogitsAll))
	same(t, all.Shape[:2], []int64{1, int64(len(g.Prompt))})
	generation := must(NewGeneration(pair(0, nil), nil, always(uint32(len(g.Greedy)))))
	defer generation.Close()
	ok(t, generation.AppendIDs(g.Prompt))
	var tokens []int64
	for step, err := range generation.Steps(background) {
		ok(t, err)
		tokens = append(tokens, step.ID)
	}
	same(t, tokens, g.Greedy)
}

func TestAnEngineTellsWhatAModelNeeds(t *testing.T) {
	cache := t.TempDir()
	engine := must(NewEngine(&EngineOptions{Offline: true, PackCache: &cache, Precision: PrecisionInt8}))
	defer engine.Close()
	files := must(engine.AuditFiles(Layers(tiny, 0, 0)))
	if len(files) != 2 {
		t.Fatal(files)
	}
	for at, name := range []string{"config.json", "model.safetensors"} {
		path := must(filepath.Abs(filepath.Join(tiny, name)))
		if files[at] != (File{name, path, uint64(must(os.Stat(path)).Size()), FileStatePresent}) {
			t.Fatalf("%+v", files[at])
		}
	}
	same(t, must(engine.ModelEOS(background, WholeModel(tiny))), []int64{2})
	must(engine.EnsureShard(background, WholeModel(tiny), nil)).Close()
	if freed, again := must(engine.ClearPackCache()), must(engine.ClearPackCache()); freed < 1000 || again != 0 {
		t.Fatal(freed, again)
	}
	_, err := engine.AuditFiles(WholeModel(tiny + "/none"))
	fails(t, err, ErrNotFound, "none")
}

func TestOutputsAreCopies(t *testing.T) {
	g := goldenOf(t, tiny)
	request := requestOf(t, shardOf(t, WholeModel(tiny), nil), nil)
	output := must(request.Infer(background, IDs(g.Prompt...), LogitsLast))
	before := output.Float32s()
	must(request.Infer(background, IDs(1), LogitsLast))
	request.Close()
	same(t, output.Float32s(), before)
}

func TestForksStatesAndTruncationGoOnWhereTheyWere(t *testing.T) {
	g := goldenOf(t, tiny)
	shard := shardOf(t, WholeModel(tiny), nil)
	request := requestOf(t, shard, nil)
	same(t, greedy(t, g.Prompt, 1, func(input Tensor) (int64, error) { return request.Sample(background, input, nil) }), g.Greedy[:1])
	fork := must(request.Fork())
	defer fork.Close()
	elsewhere, state := requestOf(t, shard, nil), must(request.ExportState())
	ok(t, elsewhere.ImportState(state))
	for _, each := range []*Request{request, fork, elsewhere} {
		same(t, greedy(t, g.Greedy[:1], 5, func(input Tensor) (int64, error) { return each.Sample(background, input, nil) }), g.Greedy[1:6])
	}
	// What one has gained since, the other takes.
	ok(t, elsewhere.Truncate(uint64(len(g.Prompt)+1)))
	ok(t, elsewhere.ImportState(must(request.ExportStateSince(uint64(len(g.Prompt)+1)))))
	if id := must(elsewhere.Sample(background, IDs(g.Greedy[5]), nil)); id != g.Greedy[6] {
		t.Fatal(id)
	}
	ok(t, request.Truncate(uint64(len(g.Prompt))))
	if id := must(request.Sample(background, IDs(g.Greedy[0]), nil)); id != g.Greedy[1] {
		t.Fatal(id)
	}
}

func TestManyAtOnceGetWhatEachGetsAlone(t *testing.T) {
	g := goldenOf(t, tiny)
	shard := shardOf(t, WholeModel(tiny), nil)
	var all sync.WaitGroup
	for range 40 {
		all.Add(1)
		go func() {
			defer all.Done()
			request := must(shard.NewRequest(nil))
			defer request.Close()
			input := g.Prompt
			for _, wanted := range g.Greedy[:8] {
				id := must(request.Sample(background, IDs(input...), nil))
				if id != wanted {
					t.Errorf("%d, not %d", id, wanted)
				}
				input = []int64{id}
			}
		}()
	}
	all.Wait()

	const count = 5
	model := must(Open(background, tiny, nil))
	defer model.Close()
	var requests []*Request
	var samplers []*Sampler
	var generations []*Generation
	for range count {
		requests = append(requests, requestOf(t, shard, nil))
		samplers = append(samplers, must(NewSampler(&SamplerOptions{})))
		generations = append(generations, must(model.NewGeneration(always(6))))
		ok(t, generations[len(generations)-1].AppendIDs(g.Prompt))
	}
	inputs := func(ids ...int64) (list []Tensor) {
		for range count {
			list = append(list, IDs(ids...))
		}
		return list
	}
	for at, given := range [][]int64{g.Prompt, g.Greedy[:1]} {
		for _, outcome := range must(BatchSample(requests, inputs(given...), map[int][]*Sampler{1: samplers}[at])) {
			ok(t, outcome.Err)
			same(t, []int64{outcome.Value}, g.Greedy[at:at+1])
		}
	}
	for _, outcome := range must(BatchInfer(requests, inputs(g.Greedy[1]), nil)) {
		ok(t, outcome.Err)
		same(t, []int64{must(samplers[0].Sample(outcome.Value.Float32s()))}, g.Greedy[2:3])
	}
	for at := range 6 {
		for _, outcome := range must(StepBatch(generations)) {
			ok(t, outcome.Err)
			same(t, []int64{outcome.Value.ID}, g.Greedy[at:at+1])
		}
	}
	for _, generation := range generations {
		generation.Close()
	}
}

func TestWhatIsStreamedIsTheWhole(t *testing.T) {
	model := must(Open(background, stories, nil))
	defer model.Close()
	sampling := DefaultSamplerOptions()
	sampling.Seed = 7
	options := &GenerationOptions{Sampling: &sampling, MaxNewTokens: 60}
	var text strings.Builder
	pieces := 0
	for piece, err := range model.Generate(background, "Once upon a time", options) {
		ok(t, err)
		text.WriteString(piece)
		pieces++
	}
	var tokens []int64
	prompt := must(model.Tokenizer.Encode("Once upon a time", &EncodeOptions{AddSpecial: true}))
	for step, err := range model.Steps(background, prompt, options) {
		ok(t, err)
		tokens = append(tokens, step.ID)
	}
	if whole := must(model.Tokenizer.Decode(tokens, true)); pieces < 10 || text.String() != whole {
		t.Fatalf("%q, not %q", text.String(), whole)
	}
}

func TestAStepTellsLogitsProbabilitiesAndWhyATextEnds(t *testing.T) {
	model := must(Open(background, stories, nil))
	defer model.Close()
	generation := must(model.NewGeneration(&GenerationOptions{
		Sampling: &SamplerOptions{}, Logprobs: 3, KeepLogits: true, Stop: []string{"zebra", "."}, IncludeStop: true,
	}))
	defer generation.Close()
	ok(t, generation.AppendText("Once upon a time", true))
	if left := must(generation.Prefill(2)); left == 0 {
		t.Fatal(left)
	}
	step := must(generation.Step(background))
	chosen := must(must(NewSampler(&SamplerOptions{})).Sample(must(generation.Logits())))
	if step.ID != chosen || len(step.Best) != 3 || step.Best[0].ID != chosen || step.Logprob != step.Best[0].Logprob || step.Best[0].Text == "" {
		t.Fatalf("%+v", step)
	}
	text := step.Text
	for step.Finish == FinishNone {
		step = must(generation.Step(background))
		text += step.Text
	}
	if step.Finish != FinishStop || step.Stop != 1 || !strings.HasSuffix(text, ".") {
		t.Fatalf("%q %+v", text, step)
	}
	ok(t, generation.AppendText(" Then", false))
	if step = must(generation.Step(background)); step.ID == NoID {
		t.Fatalf("%+v", step)
	}
}
