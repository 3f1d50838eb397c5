"""Shards in several processes, and what becomes of a process: fork, Ctrl-C, exit, and libraries that do not fit."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
from conftest import STORIES, golden, python

import ortshard

MODEL = golden("llama_gqa")

BACK = """
import sys, ortshard
with ortshard.Engine(device="cpu") as engine, engine.ensure_shard(sys.argv[1], first_layer=int(sys.argv[2])) as shard:
    request = shard.request()
    while True:
        try:
            frame = ortshard.Frame.read(sys.stdin.buffer)
        except EOFError:
            break
        print(ortshard.chain_sample([request], frame), flush=True)
"""


def test_two_processes_are_one_model(engine):
    with engine.ensure_shard(MODEL.path, last_layer=0) as front:
        request = front.request(output="frame")
        command = [sys.executable, "-c", BACK, MODEL.path, "1"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as back:
            ids, given = [], MODEL.prompt
            while len(ids) < len(MODEL.greedy):
                back.stdin.write(request.infer_frame(given).data)
                back.stdin.flush()
                ids.append(int(back.stdout.readline()))
                given = ids[-1:]
            back.stdin.close()
            assert back.wait(timeout=20) == 0
    assert ids == MODEL.greedy


def test_a_frame_that_breaks_off_or_is_too_long_is_refused(engine, tmp_path):
    frame = engine.ensure_shard(MODEL.path, last_layer=0).request(output="frame").infer_frame([1, 2])
    path = tmp_path / "frame"
    for cut, kind in [(10, EOFError), (40, EOFError), (frame.nbytes, None)]:
        path.write_bytes(frame.data[:cut])
        with path.open("rb") as stream:
            if kind is None:
                assert bytes(ortshard.Frame.read(stream)) == bytes(frame)
            else:
                with pytest.raises(kind):
                    ortshard.Frame.read(stream)
    with path.open("rb") as stream, pytest.raises(ortshard.InvalidArgument, match="limit"):
        ortshard.Frame.read(stream, limit=100)
    path.write_bytes(b"x" * 100)
    with path.open("rb") as stream, pytest.raises(ortshard.Malformed):
        ortshard.Frame.read(stream)


FORKS = """
import os, sys, warnings, ortshard
warnings.simplefilter("ignore")
model = ortshard.load(sys.argv[1], device="cpu")
def tell():
    return model.generate("Once upon a time", temperature=0, max_new_tokens=20).read()
before = tell()
for _ in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0 if tell() == before else 1)
    assert tell() == before
    assert os.waitpid(child, 0)[1] == 0
print(before)
"""


def test_a_fork_goes_on_with_what_it_has():
    done = python(FORKS, STORIES)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout


INTERRUPTED = """
import os, signal, sys, ortshard
model = ortshard.load(sys.argv[1], device="cpu")
generation = model.generate("Once upon a time", temperature=0)
texts = []
try:
    for text in generation:
        texts.append(text)
        if len(texts) == 5:
            os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("stopped", len(texts))
print(len(generation.read()) > 0)
"""


def test_ctrl_c_stops_a_generation_which_can_go_on():
    done = python(INTERRUPTED, STORIES)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped 5\nTrue\n", "")


INTERRUPTED_LOAD = """
import os, signal, sys, threading, ortshard
engine = ortshard.Engine(device="cpu", fetch=lambda model, revision, file: here(file))
def here(file):
    # The signal comes while the library works; nothing of Python runs on this thread but callbacks.
    if file == "model.safetensors":
        raised = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT))
        raised.start()
        raised.join()
    if not os.path.exists(f"{sys.argv[1]}/{file}"):
        raise FileNotFoundError(file)
    return f"{sys.argv[1]}/{file}"
try:
    engine.ensure_shard("some/model")
except KeyboardInterrupt:
    print("stopped", engine.current_shard())
def told(progress):
    if progress.stage == ortshard.Stage.SESSION:
        signal.raise_signal(signal.SIGINT)
try:
    engine.ensure_shard(sys.argv[1], progress=told)
except KeyboardInterrupt:
    print("stopped", engine.current_shard())
"""


def test_ctrl_c_stops_a_load():
    done = python(INTERRUPTED_LOAD, STORIES)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped None\nstopped None\n", "")


EXITS = """
import sys, threading, time, ortshard
ortshard.log_to(lambda level, part, message: None, "trace")
def loads():
    engine = ortshard.Engine(device="cpu")
    while True:
        engine.ensure_shard(sys.argv[1], progress=lambda progress: False)
        engine.clear()
def runs():
    model = ortshard.load(sys.argv[1], device="cpu")
    while True:
        for text in model.generate("Once", ignore_eos=True): pass
for what in (loads, runs, runs):
    threading.Thread(target=what, daemon=True).start()
kept = ortshard.load(sys.argv[1], device="cpu").generate("A")
next(iter(kept))
time.sleep(float(sys.argv[2]))
print("end")
"""


@pytest.mark.parametrize("seconds", ["0", "0.05", "0.3"])
def test_the_interpreter_ends_while_threads_work(seconds):
    done = python(EXITS, STORIES, seconds)
    assert (done.returncode, done.stdout) == (0, "end\n"), done
    assert "Traceback" not in done.stderr and "Fatal" not in done.stderr, done.stderr


@pytest.mark.parametrize("version", ["1.20.1", "2.0.0"])
def test_an_onnxruntime_that_does_not_fit_is_named(tmp_path, version):
    package = tmp_path / "onnxruntime/capi"
    package.mkdir(parents=True)
    (package / f"libonnxruntime.so.{version}").touch()
    (tmp_path / "onnxruntime/__init__.py").touch()
    code = "import ortshard\ntry: ortshard.Engine()\nexcept ortshard.OnnxRuntimeNotFound as error: print(error)"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = python(code, PYTHONPATH=path, ORTSHARD_ONNXRUNTIME="", ORT_DYLIB_PATH="")
    assert f"is {version}, and ortshard needs 1.22" in done.stdout and "pip install" in done.stdout, done


def test_without_onnxruntime_texts_work_and_the_error_says_what_to_do(tmp_path):
    code = f"""
import sys
sys.modules["onnxruntime"] = None
import ortshard
print(ortshard.Tokenizer({STORIES!r}).encode("Once"), ortshard.model_info({STORIES!r}).layer_count)
try: ortshard.Engine()
except ortshard.OnnxRuntimeNotFound as error: print(error)
"""
    # Where no ONNX Runtime lies beside it.
    library = shutil.copy(ortshard._library._file(), tmp_path)
    done = python(code, ORTSHARD_ONNXRUNTIME="", ORT_DYLIB_PATH="", ORTSHARD_LIBRARY=library)
    ids, said = done.stdout.splitlines()
    assert ids.endswith("6") and "pip install onnxruntime" in said, done


def test_a_named_onnxruntime_is_taken_and_another_is_refused():
    path = ortshard.load_runtime().path
    code = f"""
import ortshard
print(ortshard.load_runtime(threads=1))
try: ortshard.load_runtime(threads=2)
except ortshard.InvalidState as error: print(type(error).__name__)
print(len(ortshard.devices()))
"""
    done = python(code, ORTSHARD_ONNXRUNTIME=path)
    info, refused, devices = done.stdout.splitlines()
    assert path in info and "threads=1" in info and refused == "InvalidState" and int(devices) >= 1


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("fault", ["none", "version", "missing", "layout"])
def test_a_library_of_another_layout_is_refused_by_name(tmp_path, fault):
    functions = [name for name in ortshard._abi.FUNCTIONS if name != "ortshard_abi_version"]
    version = ortshard._abi.ABI_VERSION + (fault == "version")
    lines = [f"unsigned ortshard_abi_version(void) {{ return {version}; }}"] * (fault != "none")
    lines += [f"int {name}(void) {{ return 0; }}" for name in functions[: -1 if fault == "missing" else None]]
    (tmp_path / "fake.c").write_text("\n".join(lines))
    subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", tmp_path / "fake.so", tmp_path / "fake.c"], check=True)
    done = python("import ortshard", ORTSHARD_LIBRARY=str(tmp_path / "fake.so"))
    words = {
        "none": "no ortshard_abi_version()",
        "version": f"ABI version is {version}",
        "missing": functions[-1],
        "layout": "lays ortshard_oom out",
    }
    assert done.returncode == 1 and "fake.so" in done.stderr and words[fault] in done.stderr, done.stderr


def test_logs_come_to_logging_and_callbacks(caplog):
    import logging

    def fails():
        with ortshard.Engine(device="cpu", memory_limit=1000) as engine, pytest.raises(ortshard.OutOfMemory):
            engine.ensure_shard(MODEL.path)

    seen = []
    ortshard.log_to(lambda level, part, message: seen.append((level, part, message)), "error")
    fails()
    assert seen and seen[0][0] is ortshard.LogLevel.ERROR and "memory" in seen[0][2]
    count = len(seen)
    ortshard.log_to(logging.getLogger("mine"))
    fails()
    ortshard.log_to(None)
    fails()
    (record,) = [record for record in caplog.records if record.name == "mine"]
    assert len(seen) == count and record.levelno == logging.ERROR


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals")
def test_signals_that_come_all_the_time_harm_nothing(stories):
    """A handler of Python's runs between calls, and no call is disturbed."""
    ticks = []
    before = signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    try:
        texts = {stories.generate("Once upon a time", temperature=0, max_new_tokens=60).read() for _ in range(3)}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(texts) == 1 and ticks
