package ortshard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestALibraryOfAnotherLayoutIsRefusedByName runs itself: a process has one library.
func TestALibraryOfAnotherLayoutIsRefusedByName(t *testing.T) {
	if path := os.Getenv("TEST_OTHER_LIBRARY"); path != "" {
		fmt.Println("said:", Load(path))
		os.Exit(0)
	}
	folder := t.TempDir()
	library := func(name string, lines ...string) string {
		source, made := filepath.Join(folder, name+".c"), filepath.Join(folder, name+".so")
		ok(t, os.WriteFile(source, []byte(strings.Join(lines, "\n")), 0o644))
		compiler := os.Getenv("CC")
		if compiler == "" {
			compiler = "cc"
		}
		if said, err := exec.Command(compiler, "-shared", "-fPIC", source, "-o", made).CombinedOutput(); err != nil {
			t.Fatal(string(said))
		}
		return made
	}
	stub := func(name string) string { return "long " + name + "(void) { return 0; }" }
	described := readJSON[struct{ Functions map[string]any }](t, "../../include/ortshard.json")
	all, later := []string{}, []string{}
	for name := range described.Functions {
		all = append(all, stub(name))
		if name != "ortshard_abi_version" {
			later = append(later, stub(name))
		}
	}
	for path, wanted := range map[string]string{
		library("none", "int unrelated;"): "none.so is not a library that this package was made for: it has no function ortshard_version",
		library("later", append(later, "unsigned ortshard_abi_version(void) { return 99; }")...): "its ABI version is 99, not 0",
		library("other", all...):           "another struct in it",
		filepath.Join(folder, "absent.so"): "absent.so: it cannot be loaded",
	} {
		child := exec.Command(os.Args[0], "-test.run", "^TestALibraryOfAnotherLayoutIsRefusedByName$")
		child.Env = append(os.Environ(), "TEST_OTHER_LIBRARY="+path)
		if said, err := child.CombinedOutput(); err != nil || !strings.Contains(string(said), wanted) {
			t.Fatalf("%s %v: %q is not said", said, err, wanted)
		}
	}
	must(Version())
	fails(t, Load(filepath.Join(folder, "absent.so")), ErrInvalidState, "loaded already")
}

func TestWhatIsGeneratedIsUpToDate(t *testing.T) {
	if said, err := exec.Command("go", "run", "./internal/generate", "-check").CombinedOutput(); err != nil {
		t.Fatal(string(said))
	}
}

func TestWhateverTheLibraryCanDoIsReachedOrLeftOutForAReason(t *testing.T) {
	leftOut := map[string]string{
		"ortshard_last_error":                    "the C part takes it",
		"ortshard_shard_retain":                  "what is shared is a pointer",
		"ortshard_request_logits":                "Infer gives them",
		"ortshard_request_sample":                "a chain has one request, too",
		"ortshard_request_infer_into":            "outputs are copies",
		"ortshard_request_frame_pieces":          "frames come whole",
		"ortshard_tokenizer_encode":              "that of many texts takes one, too",
		"ortshard_tokenizer_apply_chat_template": "ChatText takes any messages",
		"ortshard_generation_open":               "Open does it",
		"ortshard_generation_run":                "Steps does it",
		"ortshard_model_eos":                     "an engine tells it",
		"ortshard_model_get_sampler_options":     "an engine tells them",
		"ortshard_model_get_boundary":            "an engine tells it",
	}
	var sources []byte
	for _, path := range must(filepath.Glob("*.go")) {
		if path != "abi_generated.go" {
			sources = append(sources, must(os.ReadFile(path))...)
		}
	}
	described := readJSON[struct{ Functions map[string]any }](t, "../../include/ortshard.json")
	for name := range described.Functions {
		called := regexp.MustCompile("\\b" + strings.Replace(name, "ortshard_", "ortshard_go_", 1) + "\\(").Match(sources)
		if _, left := leftOut[name]; called == left && !strings.HasSuffix(name, "_init") {
			t.Errorf("%s: called: %v, left out: %v", name, called, left)
		}
	}
}

func TestEachOfManyCallsAtOnceGetsItsOwnError(t *testing.T) {
	engine := must(NewEngine(&EngineOptions{Offline: true}))
	defer engine.Close()
	shard := must(engine.EnsureShard(background, WholeModel(tiny), nil))
	defer shard.Close()
	var all sync.WaitGroup
	for at := range 40 {
		all.Add(1)
		go func() {
			defer all.Done()
			folder := filepath.Join(t.TempDir(), fmt.Sprintf("absent%d.", at))
			_, err := engine.EnsureShard(background, WholeModel(folder), nil)
			if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), fmt.Sprintf("absent%d.", at)) {
				t.Error(err)
			}
			request := must(shard.NewRequest(nil))
			defer request.Close()
			_, err = request.Infer(background, IDs(int64(1000+at)), LogitsLast)
			if !errors.Is(err, ErrOutOfRange) || !strings.Contains(err.Error(), fmt.Sprint(1000+at)) {
				t.Error(err)
			}
		}()
	}
	all.Wait()
	_, err := shard.NewRequest(&RequestOptions{Capacity: 1 << 30})
	fails(t, err, ErrOutOfRange, "capacity")
	_, err = ReadModelInfo("/none/such")
	fails(t, err, ErrNotFound, "none")
	_, err = OpenTokenizer(t.TempDir())
	fails(t, err, ErrNotFound, "tokenizer.json")
	_, err = NewSampler(&SamplerOptions{TopP: 2})
	fails(t, err, ErrInvalidArgument, "top_p")
	outcomes := must(BatchInfer([]*Request{requestOf(t, shard, nil), requestOf(t, shard, nil)}, []Tensor{IDs(5000), IDs(1)}, nil))
	fails(t, outcomes[0].Err, ErrOutOfRange, "5000")
	ok(t, outcomes[1].Err)
	if ErrOutOfMemory.Error() != "ORTSHARD_ERROR_OUT_OF_MEMORY" {
		t.Fatal(ErrOutOfMemory.Error())
	}
}

func TestAPlanCutsAModelAmongDevicesOrSaysWhatIsMissing(t *testing.T) {
	engine := must(NewEngine(nil))
	defer engine.Close()
	whole := WholeModel(tiny)
	last := must(ReadModelInfo(tiny)).LayerCount - 1
	options := DefaultPlanOptions()
	options.Context, options.Margin, options.KeepOrder = 64, 0, true
	var weights []uint64
	for _, layers := range [][2]uint32{{0, 0}, {1, last}} {
		spec := whole
		spec.FirstLayer, spec.LastLayer = layers[0], layers[1]
		need := must(engine.Estimate(spec, 64, 1))
		weights = append(weights, need.WeightBytes)
		options.Devices = append(options.Devices, PlanDevice{FreeMemory: max(need.TotalBytes, need.LoadPeakBytes), IsRequired: true})
	}
	stages := must(engine.Plan(whole, &options))
	if len(stages) != 2 || stages[0].LastLayer != 0 || stages[1].FirstLayer != 1 || stages[1].LastLayer != last {
		t.Fatal(stages)
	}
	for at, stage := range stages {
		if stage.Device != uint32(at) || stage.WeightBytes != weights[at] {
			t.Fatal(stages)
		}
	}
	options.Devices = []PlanDevice{{FreeMemory: 1000}}
	_, err := engine.Plan(whole, &options)
	fails(t, err, ErrOutOfMemory, ".")
	options.Devices = nil
	_, err = engine.Plan(whole, &options)
	fails(t, err, ErrInvalidArgument, "device_count")
	_, err = engine.Plan(whole, nil)
	fails(t, err, ErrNullArgument, "options")
}

func TestMemoryThatRunsOutIsToldWithItsPlace(t *testing.T) {
	engine := must(NewEngine(nil))
	whole := must(engine.Estimate(WholeModel(tiny), 64, 1))
	engine.Close()
	where := func(err error, site OOMSite) {
		t.Helper()
		own := fails(t, err, ErrOutOfMemory, ".")
		if own.OOM == nil || own.OOM.Site != site || own.OOM.Device != "cpu" || own.OOM.RequestedBytes == 0 {
			t.Fatalf("%+v", own.OOM)
		}
	}
	engine = must(NewEngine(&EngineOptions{MemoryLimit: 1000}))
	_, err := engine.EnsureShard(background, WholeModel(tiny), nil)
	where(err, OOMSiteLoad)
	engine.Close()

	engine = must(NewEngine(&EngineOptions{MemoryLimit: whole.LoadPeakBytes + 4*whole.KVBytes}))
	defer engine.Close()
	shard := must(engine.EnsureShard(background, WholeModel(tiny), nil))
	defer shard.Close()
	var requests []*Request
	for err = nil; err == nil; {
		var request *Request
		if request, err = shard.NewRequest(&RequestOptions{Capacity: 64}); err == nil {
			requests = append(requests, request)
		}
	}
	where(err, OOMSiteKV)
	if stats := must(engine.Stats()); len(requests) == 0 || stats.OutOfMemoryKV != 1 {
		t.Fatal(len(requests), stats)
	}
	for _, request := range requests {
		request.Close()
	}
	g := goldenOf(t, tiny)
	if id := must(requestOf(t, shard, &RequestOptions{Capacity: 64}).Sample(background, IDs(g.Prompt...), nil)); id != g.Greedy[0] {
		t.Fatal(id)
	}
}

func TestAContextCancelsARunAndNeverTheNextOne(t *testing.T) {
	shard := shardOf(t, WholeModel(stories), nil)
	prompt := make([]int64, 500)
	for at := range prompt {
		prompt[at] = int64(3 + at%900)
	}
	request := requestOf(t, shard, nil)
	ctx, cancel := context.WithTimeout(background, 500*time.Microsecond)
	defer cancel()
	if _, err := request.Infer(ctx, IDs(prompt...), LogitsLast); !errors.Is(err, context.DeadlineExceeded) || must(request.Position()) != 0 {
		t.Fatal(err)
	}
	if _, err := request.Infer(ctx, IDs(1), LogitsLast); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	// Whenever the context ends, the run is cancelled or done, and the next one runs.
	for wait := range 30 {
		ctx, cancel := context.WithTimeout(background, time.Duration(wait)*200*time.Microsecond)
		request := requestOf(t, shard, nil)
		if _, err := request.Infer(ctx, IDs(prompt[:20]...), LogitsLast); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
		must(request.Infer(background, IDs(1), LogitsLast))
	}
	// Also if the request is closed meanwhile, and in a chain.
	closed := must(shard.NewRequest(nil))
	ctx, cancel = context.WithCancel(background)
	go func() {
		for runs := false; !runs; runtime.Gosched() {
			closed.mu.Lock()
			runs = closed.taken
			closed.mu.Unlock()
		}
		closed.Close()
		cancel()
	}()
	if _, err := (Chain{closed}).Sample(ctx, IDs(prompt...), nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	ok(t, request.Cancel())
	_, err := request.Infer(background, IDs(1), LogitsLast)
	fails(t, err, ErrCancelled, ".")
	ok(t, request.Cancel())
	ok(t, request.ClearCancel())
	must(request.Infer(background, IDs(1), LogitsLast))
}

func TestAContextEndsATextAndSoDoesLeavingItsLoop(t *testing.T) {
	model := must(Open(background, stories, nil))
	defer model.Close()
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	pieces := 0
	var last error
	for _, err := range model.Generate(ctx, "Once", nil) {
		if last = err; err == nil {
			if pieces++; pieces == 5 {
				cancel()
			}
		}
	}
	if pieces != 5 || !errors.Is(last, context.Canceled) {
		t.Fatal(pieces, last)
	}
	for range model.Generate(background, "Once", nil) {
		break
	}
	// In the middle of a step, which runs a long prompt.
	generation := must(model.NewGeneration(nil))
	defer generation.Close()
	ok(t, generation.AppendIDs(make([]int64, 480)))
	within, stop := context.WithCancel(background)
	go func() {
		for runs := false; !runs; runtime.Gosched() {
			generation.mu.Lock()
			runs = generation.taken
			generation.mu.Unlock()
		}
		stop()
	}()
	if step, err := generation.Step(within); !errors.Is(err, context.Canceled) || step.Finish != FinishCancelled {
		t.Fatal(step, err)
	}
	for _, err := range model.Generate(ctx, "Once", nil) {
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

func TestLoadingTellsHowFarItIsAndCanBeCancelled(t *testing.T) {
	engine := must(NewEngine(nil))
	defer engine.Close()
	var stages []Stage
	shard := must(engine.EnsureShard(background, WholeModel(tiny), func(p Progress) error {
		stages = append(stages, p.Stage)
		return nil
	}))
	defer shard.Close()
	if stages[0] != StageInspect || stages[len(stages)-1] != StageReady {
		t.Fatal(stages)
	}
	if _, err := engine.EnsureShard(background, WholeModel(stories), func(Progress) error { return io.EOF }); err != io.EOF {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	_, err := engine.EnsureShard(ctx, WholeModel(stories), func(Progress) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() != "a bug" {
				t.Fatal("the panic is lost")
			}
		}()
		_, _ = engine.EnsureShard(background, WholeModel(stories), func(Progress) error { panic("a bug") })
	}()
	current := must(engine.CurrentShard())
	defer current.Close()
	if must(current.Info()) != must(shard.Info()) {
		t.Fatal("another shard")
	}
}

func TestWhatCannotBeMeantIsRefusedAndClosedObjectsAreClosed(t *testing.T) {
	shard := shardOf(t, WholeModel(tiny), nil)
	engine := must(NewEngine(nil))
	request := requestOf(t, shard, nil)
	_, err := NewEngine(&EngineOptions{CacheDir: "a\x00b"})
	fails(t, err, ErrInvalidArgument, "CacheDir holds a NUL")
	_, err = NewEngine(&EngineOptions{Device: 77})
	fails(t, err, ErrInvalidArgument, "77")
	_, err = engine.EnsureShard(background, ShardSpec{Model: tiny, FirstLayer: 2, LastLayer: 1}, nil)
	fails(t, err, ErrOutOfRange, "layer")
	_, err = engine.EnsureShard(background, WholeModel("\xff\xfe"), nil)
	fails(t, err, ErrInvalidUTF8, "model")
	_, err = engine.EnsureShard(background, ShardSpec{}, nil)
	fails(t, err, ErrNullArgument, "model")
	infer := func(input Tensor, status Status, words string) {
		t.Helper()
		_, err := request.Infer(background, input, LogitsLast)
		fails(t, err, status, words)
	}
	infer(IDs(), ErrInvalidArgument, ".")
	infer(Tensor{}, ErrInvalidArgument, ".")
	infer(Float32s([]int64{1, 1, 48}, make([]float32, 48)), ErrInvalidArgument, "ids")
	infer(Tensor{Dtype: DtypeI64, Shape: []int64{1 << 62, 1 << 62}, Data: make([]byte, 8)}, ErrInvalidArgument, ".")
	infer(Tensor{Dtype: DtypeI64, Shape: []int64{5}, Data: make([]byte, 8)}, ErrInvalidArgument, ".")
	infer(Tensor{Dtype: DtypeI64, Shape: make([]int64, 9)}, ErrInvalidArgument, "9 dimensions")
	infer(Frame(make([]byte, 100)), ErrMalformed, "frame")
	_, err = request.Infer(background, IDs(1), 9)
	fails(t, err, ErrInvalidArgument, "9")
	fails(t, request.Truncate(1), ErrOutOfRange, ".")
	fails(t, request.ImportState(make([]byte, 64)), ErrMalformed, ".")
	fails(t, request.ImportState(nil), ErrNullArgument, ".")
	_, err = Chain{}.Infer(background, IDs(1), LogitsLast)
	fails(t, err, ErrInvalidArgument, ".")
	_, err = Chain{request, request}.Infer(background, IDs(1), LogitsLast)
	fails(t, err, ErrInvalidState, "^the request is in use")
	_, err = Chain{request, nil}.Infer(background, IDs(1), LogitsLast)
	fails(t, err, ErrNullArgument, `requests\[1\]`)
	_, err = StepBatch([]*Generation{nil})
	fails(t, err, ErrNullArgument, `generations\[0\]`)
	_, err = BatchInfer([]*Request{request}, nil, nil)
	fails(t, err, ErrInvalidArgument, "0 inputs")
	_, err = NewGeneration([]*Request{request}, nil, &GenerationOptions{Stop: []string{"a", "b\x00"}})
	fails(t, err, ErrInvalidArgument, `Stop\[1\]`)
	_, err = shard.NewRequest(&RequestOptions{Output: OutputPieces})
	fails(t, err, ErrUnsupported, "OutputFrame")
	model := must(Open(background, tiny, nil))
	defer model.Close()
	for _, err := range model.Generate(background, "text", nil) {
		fails(t, err, ErrInvalidState, "tokenizer")
	}

	request.Close()
	request.Close()
	_, err = request.Position()
	fails(t, err, ErrInvalidState, "request is closed")
	engine.Close()
	_, err = engine.Stats()
	fails(t, err, ErrInvalidState, "engine is closed")
}

// TestAnyCallAtAnyTime has goroutines use, and close, the same objects.
func TestAnyCallAtAnyTime(t *testing.T) {
	shard := shardOf(t, WholeModel(tiny), nil)
	for range 30 {
		request := must(shard.NewRequest(nil))
		var all sync.WaitGroup
		var ran atomic.Int32
		for at := range 8 {
			all.Add(1)
			go func() {
				defer all.Done()
				for range 4 {
					output, err := request.Infer(background, IDs(int64(at)), LogitsLast)
					switch {
					case err == nil && len(output.Float32s()) == 128:
						ran.Add(1)
					case !errors.Is(err, ErrInvalidState):
						t.Errorf("%v %v", output.Shape, err)
					}
					if at == 7 {
						_, _ = request.Position()
						request.Close()
					}
				}
			}()
		}
		all.Wait()
	}
}

func TestWhatIsForgottenIsFreed(t *testing.T) {
	engine := must(NewEngine(&EngineOptions{MemoryLimit: 1 << 21}))
	defer engine.Close()
	shard := must(engine.EnsureShard(background, WholeModel(tiny), nil))
	defer shard.Close()
	fill := func() (made int) {
		for {
			if _, err := shard.NewRequest(&RequestOptions{Capacity: 200}); err != nil {
				return made
			}
			made++
		}
	}
	first, again := fill(), 0
	for tries := 0; tries < 100 && again < first; tries++ {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
		again = max(again, fill())
	}
	if first < 3 || again != first {
		t.Fatal(first, again)
	}
}

func TestTheLogTellsWhatFails(t *testing.T) {
	var lines sync.Map
	ok(t, SetLog(LogLevelError, func(level LogLevel, target, message string) { lines.Store(message, level) }))
	var all sync.WaitGroup
	for at := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			engine := must(NewEngine(nil))
			defer engine.Close()
			_, err := engine.EnsureShard(background, WholeModel(fmt.Sprintf("/none/such%d", at)), nil)
			fails(t, err, ErrNotFound, "such")
		}()
	}
	all.Wait()
	ok(t, SetLog(0, nil))
	heard := 0
	lines.Range(func(message, level any) bool {
		if strings.Contains(message.(string), "/none/such") && level == LogLevelError {
			heard++
		}
		return true
	})
	if heard != 8 {
		t.Fatal(heard)
	}
}
