"""A forked child: it can use nothing that was loaded before the fork, and is told so at once.

llama.cpp's threads are not in the child, which would wait for them for ever. Each case runs in a
process of its own, with a time limit that stands for "for ever".
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.slow,
]

FOR_EVER = 120
"""Seconds; what is here takes less than two."""

BEGIN = """
import os, sys, threading
import edgeproxy
from edgeproxy.errors import EngineError
from edgeproxy.llama import LlamaModel, Weights

path = sys.argv[1]

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def refused(what, use):
    try:
        use()
    except EngineError as error:
        if "forked" in str(error):
            return
        raise
    sys.exit(f"{what} was not refused")
"""

MODEL = (
    BEGIN
    + """
weights = Weights(path)
model = LlamaModel(weights, n_ctx=256, n_threads=THREADS)
before = model.eval([5, 6, 7]).copy()
pid = os.fork()
if not pid:
    CHILD
    sys.exit()
code = ended(pid)
model.rewind(3)
assert (model.eval([5, 6, 7]) == before).all()
weights.close()
sys.exit(code)
"""
)


def run(program: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program, str(path)],
        capture_output=True,
        text=True,
        timeout=FOR_EVER,
    )


def model_program(child: str, threads: int = 2) -> str:
    lines = child.strip().splitlines()
    return MODEL.replace("THREADS", str(threads)).replace("CHILD", "\n    ".join(lines))


USES = {
    "eval": "model.eval([5])",
    "branch": "model.branch([5])",
    "rewind": "model.rewind(1)",
    "state": "model.state()",
    "adopt": "model.adopt([5], memoryview(b'x'))",
    "another context": "LlamaModel(weights)",
    "the parameters": "weights.n_params",
    "the tokenizer": "weights.vocab.encode('the')",
    "the tokenizer's thread": "weights.vocab.encode('the' * 1000)",
}


def check(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize("threads", [1, 2])
def test_every_use_of_a_parents_model_is_refused(tiny_file: Path, threads: int) -> None:
    uses = "\n".join(f"refused({what!r}, lambda: {use})" for what, use in USES.items())
    check(run(model_program(uses, threads), tiny_file))


@pytest.mark.parametrize(
    "child",
    [
        "pass",
        "model.close(); model.close()\nweights.close(); weights.close()",
        "weights.close(); model.close()",
        "del model, weights",
        "import gc\nmodel.cycle = weights.cycle = model\ndel model, weights\ngc.collect()",
    ],
    ids=["exit", "close", "close weights first", "drop", "collect"],
)
def test_a_child_gives_back_nothing_and_ends(tiny_file: Path, child: str) -> None:
    check(run(model_program(child), tiny_file))


def test_a_child_may_be_forked_while_a_thread_evaluates(tiny_file: Path) -> None:
    """The thread held the context's lock, and the tokenizer's may be held as well."""
    program = (
        BEGIN
        + """
from edgeproxy.core import stacks
weights = Weights(path)
begun, forked = threading.Event(), threading.Event()

class Asked(threading.Event):
    def is_set(self):
        begun.set()
        forked.wait()
        return False

model = LlamaModel(weights, n_ctx=256, n_threads=2, cancel=Asked())
thread = threading.Thread(target=lambda: model.eval([5] * 100))
thread.start()
begun.wait()
stacks._lock.acquire()
pid = os.fork()
if not pid:
    refused("eval", lambda: model.eval([5]))
    model.close()
    weights.close()
    with Weights(path) as own:
        assert len(own.vocab.encode("the" * 1000)) > 300
    sys.exit()
stacks._lock.release()
code = ended(pid)
forked.set()
thread.join()
assert model.n_past == 100
sys.exit(code)
"""
    )
    check(run(program, tiny_file))


OWN = """
with Weights(path) as own:
    got = LlamaModel(own, n_ctx=256, n_threads=1).eval([5, 6, 7])
    assert abs(got - before).max() < 0.1
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_child_may_load_its_own_with_one_thread(tiny_file: Path, threads: int) -> None:
    check(run(model_program(OWN, threads), tiny_file))


def test_with_several_threads_only_where_the_parent_had_one(tiny_file: Path) -> None:
    several = OWN.replace("n_threads=1", "n_threads=2")
    check(run(model_program(several, threads=1), tiny_file))
    done = run(model_program(several, threads=2), tiny_file)
    assert done.returncode == 1
    assert "start it by spawn, or load with one thread" in done.stderr.splitlines()[-1]


@pytest.mark.weights
def test_a_parents_session_is_refused_and_the_parent_goes_on(factbook: Path) -> None:
    program = (
        BEGIN
        + """
session = edgeproxy.load(path, n_threads=2)

def ask():
    return "".join(piece.text for piece in session.chat("What is the capital of Mongolia?"))

before = ask()
assert before
pid = os.fork()
if not pid:
    refused("chat", ask)
    session.close()
    sys.exit()
code = ended(pid)
assert ask() == before
session.close()
sys.exit(code)
"""
    )
    check(run(program, factbook))
