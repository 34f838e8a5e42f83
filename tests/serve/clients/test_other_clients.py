"""Clients that others wrote, in processes and environments of their own, and a real server.

Each script beside this file is short enough to be copied. Where EDGEPROXY_CLIENTS names no folder,
those that need packages are left out; curl and Node's own `fetch` need none.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.session.session import Session
from tests.conftest import left_out
from tests.serve.clients.conftest import SCRIPTS
from tests.serve.clients.lm_eval.factbook import with_choices
from tools.servers.environment import program
from tools.serving.clients import Clients
from tools.serving.server import KEY, Serving

pytestmark = [pytest.mark.weights, pytest.mark.slow]

QUESTION = "What is the capital of Mongolia?"
CAPITAL = "Ulaanbaatar"
PERU = "What is the capital of Peru?"
PATIENCE = 600
LEAST_RIGHT = 0.8
"""Of the ten questions that lm-evaluation-harness asks."""
ROUNDED = 0.05
"""So far figures of one text may part that another process has found, with threads of its own."""


@pytest.fixture(scope="module")
def answer(session: Session) -> str:
    """What the library answers."""
    return "".join(piece.text for piece in session.reply(QUESTION))


def run(
    command: Sequence[object], serving: Serving, folder: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """A client, with the two variables that all of them know."""
    env = {"OPENAI_BASE_URL": f"{serving.url}/v1", "OPENAI_API_KEY": KEY, "NO_PROXY": "*"}
    return subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **env, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=folder,
        timeout=PATIENCE,
    )


def printed(done: subprocess.CompletedProcess[str]) -> str:
    """What it has printed, its last line break left out; it must have succeeded."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.removesuffix("\n")


def needed(name: str) -> str:
    """The path of a program of the system's."""
    found = shutil.which(name)
    if found is None:
        left_out(f"{name} is", f"install {name}")
    return found


def test_curl(serving: Serving, answer: str) -> None:
    lines = printed(run([needed("sh"), SCRIPTS / "with_curl.sh", QUESTION], serving)).split("\n")
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    deltas = [json.loads(each)["choices"][0]["delta"] for each in data[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == answer


def test_curl_with_a_wrong_key(serving: Serving) -> None:
    command = [needed("sh"), SCRIPTS / "with_curl.sh"]
    done = run(command, serving, OPENAI_API_KEY="a-wrong-key")
    assert done.returncode
    assert json.loads(done.stdout)["error"]["code"] == "invalid_api_key"


def test_node_without_packages(serving: Serving, answer: str) -> None:
    command = [needed("node"), SCRIPTS / "with_fetch.mjs", QUESTION]
    assert printed(run(command, serving)) == answer
    done = run(command, serving, OPENAI_API_KEY="a-wrong-key")
    assert done.returncode == 1
    assert "the key is wrong" in done.stderr


def test_openai_of_npm(serving: Serving, clients: Clients, answer: str, tmp_path: Path) -> None:
    shutil.copy(SCRIPTS / "with_openai.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(clients.node_modules, target_is_directory=True)
    done = run([needed("node"), tmp_path / "with_openai.mjs", QUESTION], serving)
    found: dict[str, Any] = json.loads(printed(done))
    for way in ("chat", "stream", "gathered", "response", "responseStream"):
        assert found[way] == answer, way
    assert found["steered"]
    tokens = found["logprobs"]
    assert bytes(byte for each in tokens for byte in each["bytes"]).decode() == answer
    assert all(1 <= len(each["top_logprobs"]) <= 3 for each in tokens)
    assert found["schema"].keys() == {"capital"}
    assert found["completion"]
    assert found["models"][0] == "factbook"
    kinds = {name: (each["status"], each["code"]) for name, each in found["errors"].items()}
    assert kinds == {
        "key": (401, "invalid_api_key"),
        "model": (404, "model_not_found"),
        "field": (400, "unknown_parameter"),
    }
    assert found["errors"]["field"]["param"] == "colour"


def test_litellm(serving: Serving, clients: Clients, answer: str) -> None:
    command = [clients.program("python"), SCRIPTS / "with_litellm.py", QUESTION]
    done = run(command, serving, LITELLM_LOCAL_MODEL_COST_MAP="True")
    found = json.loads(printed(done).splitlines()[-1])  # of an error litellm prints more itself
    for way in ("chat", "stream", "asyncio"):
        assert found[way] == answer, way
    assert found["tokens"] > 2
    assert all(each <= 0 for each in found["logprobs"])
    assert found["schema"].keys() == {"capital"}
    assert found["error"] == 404


def test_langchain(serving: Serving, clients: Clients, answer: str) -> None:
    command = [clients.program("python"), SCRIPTS / "with_langchain.py", QUESTION]
    found = json.loads(printed(run(command, serving)))
    for way in ("chat", "stream", "asyncio", "responses"):
        assert found[way] == answer, way
    assert found["batch"] == [answer, answer]
    assert CAPITAL in found["talk"]
    assert all(each <= 0 for each in found["logprobs"])
    assert found["schema"].keys() == {"capital"}
    assert found["steered"]
    assert found["completion"]
    assert found["error"] == "model_not_found"


def test_llm(
    serving: Serving, clients: Clients, session: Session, answer: str, tmp_path: Path
) -> None:
    models = (SCRIPTS / "llm" / "extra-openai-models.yaml").read_text("utf-8")
    models = models.replace("http://127.0.0.1:8080", serving.url)
    (tmp_path / "extra-openai-models.yaml").write_text(models, "utf-8")

    def ask(*arguments: str) -> str:
        command = [clients.program("llm"), *arguments, "-o", "temperature", "0"]
        return printed(run(command, serving, LLM_USER_PATH=str(tmp_path)))

    assert ask("-m", "factbook", QUESTION) == answer
    assert ask("-m", "factbook", QUESTION, "--no-stream") == answer
    assert ask("-m", "factbook-responses", QUESTION) == answer
    assert ask("-m", "factbook-text", "The capital of", "-o", "max_tokens", "8")
    assert json.loads(ask("-m", "factbook", QUESTION, "--schema", "large bool")).keys() == {"large"}
    ask("-m", "factbook", QUESTION)
    talk = [(QUESTION, "user"), (answer, "assistant"), (PERU, "user")]
    messages = [{"role": role, "content": content} for content, role in talk]
    assert ask("--continue", PERU) == "".join(piece.text for piece in session.reply(messages))


@pytest.mark.parametrize(
    ("kind", "path", "task", "more"),
    [
        ("local-chat-completions", "chat/completions", "factbook_ten", ""),
        ("local-completions", "completions", "factbook_ten_text", ",tokenizer_backend=None"),
    ],
)
def test_lm_evaluation_harness(
    serving: Serving, clients: Clients, tmp_path: Path, kind: str, path: str, task: str, more: str
) -> None:
    found = evaluated(serving, clients, tmp_path, kind, path, task, more)
    assert found["right,none"] >= LEAST_RIGHT


def evaluated(
    serving: Serving, clients: Clients, folder: Path, kind: str, path: str, task: str, more: str
) -> dict[str, Any]:
    """What lm-evaluation-harness finds of a task of ten questions."""
    settings = f"base_url={serving.url}/v1/{path},num_concurrent=4,max_retries=1,model="
    settings += more if more.startswith("factbook") else f"factbook{more}"
    command = [program(clients.lm_eval, "lm_eval"), "--model", kind]
    command += ["--model_args", settings, "--tasks", task, "--output_path", folder]
    command += ["--include_path", SCRIPTS / "lm_eval", "--log_samples"]
    command += ["--apply_chat_template"] if "chat" in kind else []
    home = str(folder)
    printed(run(command, serving, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HOME=home))
    (file,) = folder.rglob("results_*.json")
    found = json.loads(file.read_text("utf-8"))
    assert found["n-samples"][task]["effective"] == 10
    results: dict[str, Any] = found["results"][task]
    return results


@pytest.mark.parametrize(
    ("model", "how"),
    [
        ("factbook", ""),
        ("factbook", ",tokenized_requests=False"),
        ("factbook:base", ""),
    ],
)
def test_lm_evaluation_harness_compares_answers(
    serving: Serving, clients: Clients, session: Session, tmp_path: Path, model: str, how: str
) -> None:
    """It finds what the library does, be its prompts ids of tokens or texts."""
    more = f"{model},tokenizer_backend=remote,auth_token={KEY}{how}"
    task = "factbook_ten_choices"
    found = evaluated(serving, clients, tmp_path, "local-completions", "completions", task, more)
    alpha = 0.0 if "base" in model else None
    if model == "factbook":
        assert found["acc,none"] >= LEAST_RIGHT
    (file,) = tmp_path.rglob("samples_*.jsonl")
    samples = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    told = {each["doc"]["place"]: [float(one[0][0]) for one in each["resps"]] for each in samples}
    alpha = None if model == "factbook" else 0.0
    assert told.keys() == {row["place"] for row in with_choices()}
    for row in with_choices():
        assert told[row["place"]] == pytest.approx(likely(session, row, alpha), abs=ROUNDED)


def likely(session: Session, row: Mapping[str, Any], alpha: float | None) -> list[float]:
    """How likely each answer to a question is."""
    text = f"The capital of {row['place']} is"
    context = len(session.score(text))
    answers = [session.score(f"{text} {answer}", alpha=alpha) for answer in row["choices"]]
    return [sum(each.logprob or 0.0 for each in answer[context:]) for answer in answers]
