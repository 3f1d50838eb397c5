"""The command `ortshard`: what it prints, how it ends, and what it says of mistakes."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import MODELS, STORIES, python

from ortshard import cli

TOLD = json.loads((MODELS / "stories_golden.json").read_text())[0]


def run(capsys, *arguments):
    try:
        code = cli.main(arguments)
    except SystemExit as error:
        code = error.code
    said = capsys.readouterr()
    return code, said.out, said.err


def test_generate(capsys, monkeypatch):
    wanted = "".join(TOLD["text"])
    code, out, err = run(
        capsys, "generate", STORIES, TOLD["prompt"], "--device", "cpu", "--temperature", "0", "--max-tokens", "20"
    )
    assert (code, err) == (0, "") and wanted.startswith(out.rstrip("\n")) and len(out) > 30
    monkeypatch.setattr("sys.stdin", __import__("io").StringIO(TOLD["prompt"]))
    code, out, _ = run(capsys, "generate", STORIES, "--json", "--temperature", "0", "--max-tokens", "6", "--stop", "never")
    told = json.loads(out)
    assert code == 0 and told["ids"] == TOLD["greedy_ids"][:6] and told["finish"] == "length"


def chatty(tmp_path):
    """The story model with a chat template that strings messages together."""
    folder = shutil.copytree(STORIES, tmp_path / "chat")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    return folder


def test_chat_keeps_what_was_said(capsys, tmp_path):
    folder = chatty(tmp_path)
    lines = f"{TOLD['prompt']}\n and then\n"
    arguments = ["-m", "ortshard", "chat", str(folder), "--temperature", "0", "--max-tokens", "8"]
    done = subprocess.run([sys.executable, *arguments], input=lines, capture_output=True, text=True, timeout=60, check=False)
    first, second = done.stdout.splitlines()
    assert done.returncode == 0 and done.stderr == ""
    # The second turn is what the whole conversation gives at once.
    whole = TOLD["prompt"] + first + " and then"
    _, out, _ = run(capsys, "generate", STORIES, whole, "--temperature", "0", "--max-tokens", "8")
    assert TOLD["text"].startswith(first) and second.strip() == out.strip()


def test_info_and_plan(capsys):
    code, out, _ = run(capsys, "info", STORIES)
    assert code == 0 and "6 layers" in out and "layers 0 to 5 fit" in out
    code, out, _ = run(capsys, "info", STORIES, "--json", "--first-layer", "2", "--last-layer", "3", "--memory-limit", "1M")
    told = json.loads(out)
    assert told["model"]["layer_count"] == 6 and told["estimate"]["largest_last_layer"] is None
    assert {file["name"] for file in told["files"]} == {"config.json", "model.safetensors"}
    code, out, _ = run(capsys, "plan", STORIES, "16M", "1G", "--keep-order", "--json")
    first, second = json.loads(out)
    assert (first["first_layer"], second["last_layer"]) == (0, 5) and first["last_layer"] + 1 == second["first_layer"]
    assert first["needed_bytes"] <= 14 << 20 < first["memory_bytes"] == 16 << 20
    code, out, err = run(capsys, "plan", STORIES, "1M", "1M", "--json")
    assert code == 1 and json.loads(out)["kind"] == "OutOfMemory" and "no plan fits" in err
    assert "layers 0 to" in run(capsys, "plan", STORIES, "1G", "1G")[1]


def test_export(capsys, tmp_path):
    path = str(tmp_path / "shard.onnx")
    code, out, _ = run(capsys, "export-onnx", STORIES, path, "--last-layer", "1")
    assert code == 0 and path in out and Path(path + ".data").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "COMMAND"),
        (["generate"], 2, "model"),
        (["generate", STORIES, "x", "--max-tokens", "-1"], 2, "negative"),
        (["generate", STORIES, "x", "--top-k", "many"], 2, "--top-k"),
        (["plan", STORIES, "much"], 2, "16G"),
        (["generate", "/nowhere", "x"], 1, "/nowhere"),
        (["generate", STORIES, "x", "--device", "toaster"], 1, "toaster"),
        (["generate", STORIES, "x", "--temperature", "nan"], 1, "temperature"),
        (["generate", str(MODELS / "llama_gqa"), "x"], 1, "tokenizer.json"),
        (["info", STORIES, "--first-layer", "9"], 1, "9"),
        (["generate", STORIES, "x", "--memory-limit", "1M"], 1, "memory"),
        (["pull", "org/model", "--offline"], 1, "org/model"),
    ],
)
def test_mistakes_are_named(capsys, arguments, code, words):
    got, out, err = run(capsys, *arguments)
    assert got == code and words in err and out == "", err


def test_output_that_is_lost_is_no_success():
    arguments = [sys.executable, "-m", "ortshard", "generate", STORIES, "Once", "--max-tokens", "30"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "No space" in done.stderr
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as gone:
        gone.stdout.close()
        assert gone.stderr.read() == b"" and gone.wait(timeout=60) == 141
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *arguments]
    done = subprocess.run(closed, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "ortshard: the standard output is closed\n")
    version = python("-m", "ortshard", "--version")
    assert version.returncode == 0 and version.stdout.startswith("ortshard ")


def test_ctrl_c_ends_it_with_the_code_of_the_signal(tmp_path):
    arguments = [sys.executable, "-m", "ortshard", "chat", str(chatty(tmp_path)), "--max-tokens", "3"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waits:
        waits.stdin.write(b"Once\n")
        waits.stdin.flush()
        assert waits.stdout.readline()
        waits.send_signal(signal.SIGINT)
        assert waits.wait(timeout=60) == 130 and waits.stderr.read() == b"\n"


class Hub(BaseHTTPRequestHandler):
    """A hub with one model, org/tiny, of the files of llama_gqa."""

    protocol_version = "HTTP/1.1"
    commit = "a" * 40
    asked: list[str] = []

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        parts = self.path.split("/resolve/")
        path = MODELS / "llama_gqa" / parts[-1].split("/", 1)[-1]
        found = parts[0] == "/org/tiny" and path.is_file()
        content = path.read_bytes() if found else b"no"
        self.asked.append(f"{self.command} {path.name}")
        self.send_response(200 if found else 404)
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        if not found:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def test_pull_fetches_into_the_cache(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cache = tmp_path / "cache"
    environment = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_CACHE": str(cache), "NO_PROXY": "127.0.0.1"}
    environment |= {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"}
    try:
        done = python("-m", "ortshard", "pull", "org/tiny", "--json", **environment)
    finally:
        server.shutdown()
    files = json.loads(done.stdout)
    assert done.returncode == 0 and done.stderr == "", done
    assert [file["name"] for file in files] == ["config.json", "model.safetensors"]
    assert all(Path(file["path"]).is_relative_to(cache) for file in files)
    assert "GET model.safetensors" in Hub.asked
    # What was pulled is enough without the network.
    done = python("-m", "ortshard", "info", "org/tiny", "--offline", **environment)
    assert done.returncode == 0 and "3 layers" in done.stdout
