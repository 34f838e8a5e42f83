"""What a trio takes of memory: its weights once, its KV caches, and little besides.

Measured in processes of their own: this one has held other things.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import edgeproxy
from edgeproxy.core.memory_free import peak_memory
from edgeproxy.llama import Weights
from edgeproxy.session.memory_plan import BAR, Estimate
from tests.helpers.near import NEAR_QUANTISED, assert_near
from tools.models.random_trio import Shape, write_trio

pytestmark = pytest.mark.slow

PARENT = 300_000_000

CHILD = """
import json, sys
from dataclasses import asdict
import edgeproxy
from edgeproxy.core.memory_free import peak_memory
with edgeproxy.load(sys.argv[1], n_threads=1) as session:
    # A prompt that fills a batch, and a reply; one thread is the same on a busy machine.
    said = list(session.chat("Hello! " * 40, max_tokens=24))
    memory = session.memory
    print(json.dumps([len(said), asdict(memory), peak_memory()]))
"""


@dataclass(frozen=True)
class Child:
    """What a fresh process tells after a reply."""

    said: int
    memory: Estimate
    peak: int


def answer(trio: str | Path) -> Child:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(trio)], capture_output=True, text=True, check=True
    )
    said, parts, peak = json.loads(done.stdout)
    if peak is None:
        pytest.skip("this system does not tell how much memory a process has held")
    return Child(said, Estimate(**parts), peak)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trio of 159 MB of Q4_0 weights, which llama.cpp rearranges: held twice, they would show."""
    out = tmp_path_factory.mktemp("large")
    base = Shape(layers=8, width=1536, ffn=4096, heads=24, kv_heads=4, tied=True)
    pair = Shape(layers=6, width=768, ffn=2048, heads=12, kv_heads=4, tied=True)
    write_trio(out, base, pair, 2000, seed=0)
    return out / "trio.toml"


def test_a_trio_takes_little_more_than_its_weights_and_caches(large: Path) -> None:
    child = answer(large)
    assert child.said == 24
    assert child.memory.weights == pytest.approx(159e6, rel=0.01)  # the embedding twice
    # 8 blocks of 4 heads of 64 keys and values, twice 6 of the same; 4,096 tokens of 2 bytes each.
    assert child.memory.kv == (8 + 2 * 6) * 4 * 2 * 64 * 4096 * 2
    assert child.memory.weights + child.memory.kv < child.peak <= BAR * child.memory.total
    # Weights that were held twice would not fit: the bar means something here.
    assert BAR * child.memory.total - child.peak < child.memory.weights


@pytest.mark.weights
@pytest.mark.parametrize("trio", ["factbook", "factbook-phi"])
def test_the_shipped_trios_take_little_more(trio: str) -> None:
    child = answer(trio)
    assert child.said > 0
    assert child.peak <= BAR * child.memory.total
    # The bar that it had before there was an estimate.
    assert child.peak <= 1.05 * (child.memory.weights + child.memory.kv + 150_000_000)


def test_a_file_in_several_roles_counts_once(tiny_file: Path) -> None:
    with edgeproxy.load(base=tiny_file, expert=tiny_file, anti_expert=tiny_file) as session:
        with Weights(tiny_file) as weights:
            assert session.memory.weights == weights.n_bytes
        before = session.memory
        session.solo("base")
        assert session.memory == before  # the trio's alone
    assert before.total == before.more + before.process
    assert before.kv == 3 * 2 * 2 * 2 * 8 * 2048 * 2


def test_mapped_or_read_a_model_says_the_same(large: Path) -> None:
    from edgeproxy.llama import LlamaModel

    rows = []
    for mmap in (None, False, True):
        with Weights(large.parent / "expert.gguf", mmap=mmap) as weights:
            rows.append(LlamaModel(weights, n_ctx=64).eval([5, 6, 7]).copy())
    for others in rows[1:]:
        assert_near(others, rows[0], NEAR_QUANTISED)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_the_peak_is_this_processes_own() -> None:
    """On Linux `getrusage` would tell the parent's."""
    held = b"x" * PARENT
    code = "from edgeproxy.core.memory_free import peak_memory; print(peak_memory())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(child.stdout) < PARENT / 2
    assert (peak_memory() or 0) > len(held)
