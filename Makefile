# make demo    set up and run the main job: one story from one shard, and the same story from three
#              (DEVICE=cuda or coreml: on that device)
# make test    set up and run every test
# make test-gpu      the tests of what a device computes, on a GPU; where there is none it says so (GPU=cuda:1 takes another)
# make gpu-suite     a folder that runs them and the benchmarks on a machine without compiler, Rust and network (Linux)
# make bench-gpu     speed on a GPU, beside onnxruntime-genai where it is installed (needs numpy)
# make onnxruntime-gpu   fetch ONNX Runtime with CUDA, and CUDA's libraries: 0.8 GB (Linux, x86-64)
# make test-matrix   every test on every supported ONNX Runtime (Linux, x86-64)
# make threads       the tests about threads under ThreadSanitizer (Linux, x86-64; a nightly compiler from rustup)
# make fuzz    try hostile files and calls for a minute, after some minutes of compiling (Linux; a nightly compiler from rustup)
# make chats   fetch published chat templates and tokenizers and compare with transformers (needs transformers 5.24 and npm)
# make bench   set up and run the benchmarks
# make bench-peers   the same model on onnxruntime-genai and llama.cpp beside it (Linux; installs them into target/)
# make lint    formatting, clippy, documentation, header and symbols
# make header  regenerate include/ortshard.h and ortshard.json after a change to src/ffi, and what bindings/ makes of them
# make models    regenerate the models in README.md and docs/models.md after a change to the families
# make promises  regenerate the table of tests/README.md after a change to what a test promises
# make bindings  tools of other languages on the header: cffi, ctypesgen, bindgen and cgo (into target/)
# make test-bindings   the packages of other languages: test-node (bindings/node) and test-go (bindings/go), in Node 20 and Go 1.23 or
#              later, which pip brings into target/ where they are not installed, test-python, and
#              test-install
# make test-ray      a pipeline of machines on Ray: the same texts whatever is killed (into target/)
# make survival      the same with stages killed at 40 moments (KILLS=200: at more), and what going on took
# make test-serve    the OpenAI API over such a pipeline, by OpenAI's client, schemathesis and, where Chromium is installed, a browser
# make demo-ray      one story from three machines on Ray, one of them killed on the way: the same story
# make test-python     build the Python wheel, install it into a fresh environment and test it there
# make wheel   the Python wheel as it is published, into target/wheels/ (on Linux linked by zig for glibc 2.28)
# make install PREFIX=/usr/local     library, headers, pkg-config and CMake files, licences (Linux). DESTDIR as usual;
#              LIB=lib/x86_64-linux-gnu: that folder instead of lib; ONNXRUNTIME=yes: with the pinned ONNX Runtime beside it, or
#              the one whose file or folder it names. `make package`, and then `sudo make install-package` builds nothing as root
# make uninstall PREFIX=/usr/local
# make test-install  programs that are made and run from an installed library (needs what .ci/run needs; CMake, clang and abidiff
#              where they are)
# make freeze-abi    at a release: keep its header and C tests for all later versions (tests/abi)
#
# Set up means: fetch ONNX Runtime once (a pinned wheel, into target/), unless ORTSHARD_ONNXRUNTIME names a library.

CARGO  ?= cargo
PYTHON ?= python3
CC     ?= cc
CFLAGS ?= -O2
PREFIX ?= /usr/local
LIB    ?= lib
ONNXRUNTIME ?= no
VERSIONS ?= 1.22.1 1.24.1 1.27.0 1.30.0 1.31.1

RUNTIME  := target/onnxruntime
RELEASE  := target/release
EXAMPLES := target/c/generate target/c/two_shards target/c/devices
STRICT   := -std=c11 -Wall -Wextra -Wpedantic -Werror
MODEL    ?= models/stories
PROMPT   ?= One rainy morning, a small fox
DEVICE   ?= cpu
GPU      ?= cuda

.PHONY: all demo test test-gpu test-matrix threads chats fuzz bench bench-peers bench-gpu gpu-suite lint header models promises bindings runtime \
	test-bindings test-node test-go test-python test-ray test-serve survival demo-ray ray-venv wheel onnxruntime-gpu numpy examples package install install-package uninstall \
	test-install freeze-abi clean FORCE

all: examples

# libortshard looks for ONNX Runtime beside itself, so the examples need no environment.
runtime:
	@$(PYTHON) tools/setup/fetch_onnxruntime.py --out $(RUNTIME)
	@mkdir -p $(RELEASE) && ln -sf ../onnxruntime/libonnxruntime.so $(RELEASE)/libonnxruntime.so

onnxruntime-gpu:
	@$(PYTHON) tools/setup/fetch_onnxruntime.py --gpu --out target/onnxruntime-gpu

$(RELEASE)/libortshard.so: FORCE
	@CARGO="$(CARGO)" tools/install/build.sh

FORCE:

examples: $(EXAMPLES)

target/c/%: examples/%.c $(wildcard examples/*.h) include/ortshard.h $(RELEASE)/libortshard.so
	@mkdir -p $(@D)
	$(CC) $(STRICT) $(CFLAGS) -Iinclude $< -L$(RELEASE) -lortshard -lm -ldl -Wl,-rpath,'$$ORIGIN/../release' -o $@

# CUDA needs an ONNX Runtime that has it.
ifneq ($(filter cuda%,$(DEVICE)),)
ifeq ($(ORTSHARD_ONNXRUNTIME),)
demo: onnxruntime-gpu
demo: export ORTSHARD_ONNXRUNTIME := $(CURDIR)/target/onnxruntime-gpu/libonnxruntime.so
endif
endif

GENERATE = target/c/generate --model "$(MODEL)" --device "$(DEVICE)" --prompt "$(PROMPT)" --max-tokens 200

demo: runtime examples
	@printf '== one shard\n%s' "$(PROMPT)"
	@$(GENERATE)
	@printf '\n== three shards\n%s' "$(PROMPT)"
	@$(GENERATE) --shards 3

# Then the tests of what other devices run, with stock operators on the processor. All failures of both are reported.
test: runtime
	@status=0; \
	$(CARGO) test --workspace --locked --no-fail-fast || status=1; \
	tools/device/run_on_device.sh --device cpu-stock --tests || status=1; \
	exit $$status

test-gpu: runtime examples
	tools/device/run_on_device.sh --device $(GPU) --tests

# BENCHES="--shapes llama-3.2-1b --rounds 5" and the like; `python3 tools/bench/bench_gpu.py --help` lists all.
bench-gpu: runtime examples numpy
	tools/device/run_on_device.sh --device $(GPU) --benches $(BENCHES)

# SUITE="--runtime none" leaves ONNX Runtime and CUDA out.
gpu-suite: $(RELEASE)/libortshard.so
	$(PYTHON) tools/device/make_gpu_suite.py $(SUITE)

# The tests on every ONNX Runtime that the library is promised to run on.
test-matrix: examples
	@for version in $(VERSIONS); do \
		echo "== ONNX Runtime $$version"; \
		env -u ORTSHARD_ONNXRUNTIME $(PYTHON) tools/setup/fetch_onnxruntime.py --version $$version --out target/onnxruntime-$$version || exit 1; \
		ORTSHARD_ONNXRUNTIME="$(CURDIR)/target/onnxruntime-$$version/libonnxruntime.so" $(CARGO) test --locked || exit 1; \
	done

# One thread in ONNX Runtime's pool: what its threads tell each other, the sanitizer does not see.
THREADS := ORTSHARD_THREADS=1 CARGO_TARGET_DIR=target/threads \
	RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
	TSAN_OPTIONS="suppressions='$(CURDIR)/tests/suite/c/threads.supp' ignore_noninstrumented_modules=1" \
	ORTSHARD_THREAD_SANITIZER="$$(rustc +nightly --print target-libdir)/librustc-nightly_rt.tsan.a" \
	$(CARGO) +nightly test --locked --no-default-features --features grammar --target x86_64-unknown-linux-gnu

threads: runtime
	$(THREADS) --test suite -- threads:: c_tests::under_thread_sanitizer

chats:
	$(PYTHON) tools/goldens/chat_templates.py
	$(CARGO) test --locked --test suite -- published_chats:: --nocapture

# The seconds that each of fourteen targets gets.
FUZZ_SECONDS ?= 7

fuzz: runtime
	tools/fuzz/fuzz.sh $(FUZZ_SECONDS)

bench: runtime target/models/qwen2.5-0.5b
	$(CARGO) bench --locked

# SHAPE=qwen3-30b-a3b PROMPT=4096 PEERS="--layers 4 --rounds 9 --out docs/peers.md" and the like; `python3
# tools/bench/bench_peers.py --help` lists all.
SHAPE ?= qwen2.5-0.5b
PROMPT ?= 256
bench-peers: runtime $(RELEASE)/libortshard.so
	$(PYTHON) tools/bench/bench_peers.py --shape $(SHAPE) --prompt $(PROMPT) $(PEERS)

# numpy comes from the system if it is there, else into target/.
numpy:
	@PYTHONPATH="target/python:$$PYTHONPATH" $(PYTHON) -c "import numpy" 2>/dev/null \
		|| $(PYTHON) -m pip install --quiet --target target/python numpy

target/models/%: | numpy
	PYTHONPATH="target/python:$$PYTHONPATH" $(PYTHON) tools/bench/make_random_model.py --shape $* --dtype bf16 --out $@

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --no-default-features --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --document-private-items
	$(CARGO) test --locked --test suite -- header:: layering::

header:
	ORTSHARD_UPDATE_HEADER=1 $(CARGO) test --locked --test suite -- header::
	$(call in_language,node,node tools/generate.js)
	$(call in_language,go,go run ./internal/generate)

promises:
	ORTSHARD_UPDATE_PROMISES=1 $(CARGO) test --locked --test suite -- promises::

models:
	ORTSHARD_UPDATE_MODELS=1 $(CARGO) test --locked --lib -- engine::tests::models

BINDINGS := $(CURDIR)/target/bindings

bindings: runtime
	@test -x "$(BINDINGS)/bin/pip" || $(PYTHON) -m venv "$(BINDINGS)"
	@"$(BINDINGS)/bin/pip" install --quiet cffi ctypesgen libclang setuptools
	@test -x "$(BINDINGS)/bin/bindgen" || $(CARGO) install --quiet --root "$(BINDINGS)" bindgen-cli
	@go=$$(PYTHON=$(PYTHON) tools/setup/language.sh go) || go=; \
	PATH="$(BINDINGS)/bin:$${go:+$$go:}$$PATH" BINDGEN_EXTRA_CLANG_ARGS="-I$$($(CC) -print-file-name=include)" \
		LIBCLANG_PATH="$$(echo "$(BINDINGS)"/lib/python3*/site-packages/clang/native)" \
		$(CARGO) test --locked --test suite -- bindings:: --nocapture

test-bindings: test-node test-go test-python test-install

# Runs $(2) with the toolchain of the language $(1), in its folder; where there is none, says why not.
define in_language
	@bin=$$(PYTHON=$(PYTHON) tools/setup/language.sh $(1)) || { echo "SKIPPED: bindings/$(1): $$bin"; exit 0; }; \
	export PATH="$$bin:$$PATH" ORTSHARD_LIBRARY="$(CURDIR)/$(RELEASE)/libortshard.so"; cd bindings/$(1) && $(2)
endef

test-node: runtime $(RELEASE)/libortshard.so
	$(call in_language,node,npm install --no-audit --no-fund --loglevel=error && npm run --silent types && node --test)

test-go: export GOTOOLCHAIN = local
test-go: export GODEBUG = cgocheck=1
test-go: runtime $(RELEASE)/libortshard.so
	$(call in_language,go,go vet ./... && go test -count=1 ./...)

# A fresh environment, so that what the wheel needs and does not say is missed.
VENV := target/python/venv
test-python: wheel
	@rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet pytest mypy $(WHEELS)/*$(WHEEL_TAG).whl
	cd $(VENV) && env -u ORTSHARD_ONNXRUNTIME -u ORT_DYLIB_PATH bin/python -m pytest -c "$(CURDIR)/python/pyproject.toml" "$(CURDIR)/python/tests"
	@$(VENV)/bin/pip install --quiet fastapi
	cd $(VENV) && bin/python -m mypy --strict -p ortshard && bin/python -m mypy --strict "$(CURDIR)/python/tests/typed_use.py"

# With Ray and ZeroMQ. Stages share this machine's processors, so each computes with one thread; Ray's agents get time to start.
RAY_VENV := target/python/ray
KILLS ?= 40
ON_RAY = cd $(RAY_VENV) && env -u ORTSHARD_ONNXRUNTIME -u ORT_DYLIB_PATH RAY_USAGE_STATS_ENABLED=0 RAY_worker_niceness=0 \
	RAY_agent_register_timeout_ms=120000 ORTSHARD_THREADS=1
ray-venv: wheel
	@rm -rf $(RAY_VENV) && $(PYTHON) -m venv $(RAY_VENV)
	@$(RAY_VENV)/bin/pip install --quiet pytest mypy "$$(echo $(CURDIR)/$(WHEELS)/*$(WHEEL_TAG).whl)[ray]" \
		|| echo "SKIPPED: a pipeline on Ray: there is no Ray for $$($(PYTHON) --version) here"

# Runs $(1) where Ray could be installed.
define on_ray
	@test ! -x $(RAY_VENV)/bin/ray || { $(ON_RAY) $(1); }
endef
RAY_TESTS = bin/python -m pytest -s -o faulthandler_timeout=600 -c "$(CURDIR)/python/pyproject.toml"

test-ray: ray-venv
	$(call on_ray,$(RAY_TESTS) $(CURDIR)/python/tests/test_ray_parts.py $(CURDIR)/python/tests/test_ray.py)

survival: ray-venv
	$(call on_ray,ORTSHARD_KILLS=$(KILLS) $(RAY_TESTS) $(CURDIR)/python/tests/test_ray.py \
		-k "killed or hangs or cut or lost or memory or coordinator or neighbour")

test-serve: ray-venv
	@test ! -x $(RAY_VENV)/bin/ray || $(RAY_VENV)/bin/pip install --quiet openai schemathesis playwright \
		"$$(echo $(CURDIR)/$(WHEELS)/*$(WHEEL_TAG).whl)[serve]"
	$(call on_ray,$(RAY_TESTS) $(CURDIR)/python/tests/test_serve_parts.py $(CURDIR)/python/tests/test_serve_openapi.py \
		$(CURDIR)/python/tests/test_serve.py && bin/mypy --strict -p ortshard)

demo-ray: ray-venv
	$(call on_ray,bin/python $(CURDIR)/examples/three_machines.py --model $(abspath $(MODEL)) --prompt "$(PROMPT)")

WHEELS := target/wheels
WHEEL_TOOLS := target/python/tools
WHEEL_TAG := $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),py3-none-manylinux_2_28_x86_64)
wheel: $(RELEASE)/libortshard.so
	@test -x $(WHEEL_TOOLS)/bin/pip || $(PYTHON) -m venv $(WHEEL_TOOLS)
	@$(WHEEL_TOOLS)/bin/pip install --quiet 'setuptools>=77' ziglang==0.17.1
	@rm -rf $(WHEELS)
ifneq ($(WHEEL_TAG),)
	ZIG_GLOBAL_CACHE_DIR="$(CURDIR)/target/python/zig" $(WHEEL_TOOLS)/bin/python python/link_for_glibc.py $(RELEASE)/libortshard.a \
		target/python/libortshard.so
	ORTSHARD_LIBRARY="$(CURDIR)/target/python/libortshard.so" $(WHEEL_TOOLS)/bin/pip wheel --quiet --no-build-isolation --no-deps \
		-w $(WHEELS) ./python
else
	$(WHEEL_TOOLS)/bin/pip wheel --quiet --no-build-isolation --no-deps -w $(WHEELS) ./python
endif

PACKAGE := target/package

package: $(RELEASE)/libortshard.so
	CARGO="$(CARGO)" PYTHON=$(PYTHON) tools/install/package.sh $(PACKAGE) "$(LIB)" "$(ONNXRUNTIME)"

install: package
	@tools/install/install.sh $(PACKAGE) "$(DESTDIR)$(PREFIX)"

install-package:
	@tools/install/install.sh $(PACKAGE) "$(DESTDIR)$(PREFIX)"

uninstall:
	@tools/install/install.sh --remove "$(DESTDIR)$(PREFIX)"

test-install: runtime package
	PYTHON=$(PYTHON) tests/install/run.sh $(PACKAGE) "$${ORTSHARD_ONNXRUNTIME:-$(RUNTIME)/libonnxruntime.so}"

freeze-abi:
	tools/install/freeze_abi.sh

clean:
	$(CARGO) clean
