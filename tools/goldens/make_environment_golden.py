"""Writes tests/hub_environment.json: what huggingface_hub makes of many environments.

    pip install huggingface_hub==2.4.0
    python tools/goldens/make_environment_golden.py

Each row is read by a Python of its own, since huggingface_hub looks at the environment when it is imported. `{folder}` stands
for a folder that holds the `files`.
"""

import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FILES = {"token": "hf_file\n", "home/token": " hf_home\r\n", "blank": " \n", "tok en": "hf_spaced"}

READ = """
import json
from huggingface_hub import constants as c
from huggingface_hub.utils._headers import get_token_to_send
timeout = lambda value, default: None if value == default else value
try:
    token = get_token_to_send(None)
except OSError:  # the path of a folder
    token = None
print(json.dumps({
    "cache": c.HF_HUB_CACHE,
    "token_file": c.HF_TOKEN_PATH,
    "offline": c.is_offline_mode(),
    "token": token,
    "endpoint": c.ENDPOINT,
    "download_timeout": timeout(c.HF_HUB_DOWNLOAD_TIMEOUT, c.DEFAULT_DOWNLOAD_TIMEOUT),
    "etag_timeout": timeout(c.HF_HUB_ETAG_TIMEOUT, c.DEFAULT_ETAG_TIMEOUT),
    "copies": c.HF_HUB_DISABLE_SYMLINKS,
}))
"""

# What paths may look like, tried in every variable that is a path.
PATHS = ["/a/b", "~/a", "~", "$BASE/a", "${BASE}/a", "/a/$NAME", "/a/${NAME}b", "/a/$NAMEb", "$NONE/a", "${NONE}/a",
         "$SELF/a", "$HOME/a", "relative/a", "/a/", "", "~nobody-of-that-name/a", "/~/a", "$", "a$", "$$BASE", "${BASE",
         "${}", "$TILDE/a", "/a b/$NAME c", "$BASE$NAME", "%BASE%", "$BASE-x", "/é/$NAME"]
ALWAYS = {"HOME": "/home/me", "BASE": "/base", "NAME": "name", "SELF": "$BASE", "TILDE": "~"}

rows = [{}]
for variable in ["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HF_TOKEN_PATH"]:
    rows += [{variable: path} for path in PATHS]
order = {"HF_HUB_CACHE": "/1", "HUGGINGFACE_HUB_CACHE": "/2", "HF_HOME": "/3", "XDG_CACHE_HOME": "/4"}
rows += [dict(list(order.items())[skipped:]) for skipped in range(1 + len(order))]
rows += [{"TRANSFORMERS_CACHE": "/old"}, {"PYTORCH_TRANSFORMERS_CACHE": "/old"}, {"HOME": ""}, {"HOME": "/"},
         {"HOME": "/h//", "HF_HOME": "~/a"}, {"HF_HOME": "$BASE", "BASE": "$NAME", "NAME": "/n"}]

TRUTH = ["1", "0", "", "true", "True", "TRUE", "on", "On", "yes", "YES", "y", "no", "off", "false", " 1", "2"]
for variable in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_SYMLINKS", "HUGGINGFACE_CO_STAGING"]:
    rows += [{variable: value} for value in TRUTH]
rows += [{"HF_HUB_OFFLINE": first, "TRANSFORMERS_OFFLINE": second} for first in ["1", "0", ""] for second in ["1", "0", ""]]

TOKENS = {"HF_TOKEN": "hf_1", "HUGGING_FACE_HUB_TOKEN": "hf_2", "HF_TOKEN_PATH": "{folder}/token", "HF_HOME": "{folder}/home"}
rows += [dict(list(TOKENS.items())[skipped:]) for skipped in range(len(TOKENS))]
rows += [{"HF_TOKEN": value, "HF_TOKEN_PATH": "{folder}/token"} for value in ["", " ", " hf_x \n", "hf\r\n_x"]]
rows += [{"HF_TOKEN": "", "HUGGING_FACE_HUB_TOKEN": "hf_2"}, {"HF_TOKEN": " ", "HUGGING_FACE_HUB_TOKEN": "hf_2"}]
rows += [{"HF_TOKEN_PATH": f"{{folder}}/{file}"} for file in ["blank", "none", "tok en", ""]]
rows += [{"HF_TOKEN_PATH": "$F/token", "F": "{folder}"}, {"HF_TOKEN_PATH": "~/token", "HOME": "{folder}"}]
rows += [{"HF_HUB_DISABLE_IMPLICIT_TOKEN": value, **TOKENS} for value in ["1", "yes", "0", ""]]
rows += [{"HUGGINGFACE_CO_STAGING": "1", **TOKENS, "HF_ENDPOINT": "http://e"}]

rows += [{"HF_ENDPOINT": value} for value in ["https://mirror", "https://mirror/", "http://m:8080/hf//", "https://$NAME"]]
for variable in ["HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"]:
    rows += [{variable: value} for value in ["60", " 7 ", "+5", "0"]]


def ask(folder, row):
    environment = {name: value.replace("{folder}", folder) for name, value in (ALWAYS | row).items()}
    output = subprocess.run([sys.executable, "-c", READ], env=environment, check=True, capture_output=True, text=True)
    return {"set": row, "gives": json.loads(output.stdout.replace(folder, "{folder}"))}


def main():
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(4) as pool:
        for name, content in FILES.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content.encode())
        golden = list(pool.map(lambda row: ask(folder, row), rows))
    # A row says what is set beside `always`, and what it gives otherwise than the first, in which nothing else is set.
    usual = golden[0]["gives"]
    for row in golden:
        row["gives"] = {key: value for key, value in row["gives"].items() if value != usual[key]}
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in golden)
    head = f'"files": {json.dumps(FILES)},\n"always": {json.dumps(ALWAYS)},\n"usual": {json.dumps(usual)}'
    text = f'{{{head},\n"rows": [\n{lines}\n]}}\n'
    Path(__file__).resolve().parents[2].joinpath("tests/hub_environment.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
