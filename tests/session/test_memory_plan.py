"""What a trio will take of memory: near what it holds, and compared with what is free."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgeproxy
from edgeproxy.core.memory_free import Free
from edgeproxy.errors import ModelFileError, OutOfMemoryError, UsageError
from edgeproxy.llama import LlamaModel, Weights, compute_bytes, kv_type_for
from edgeproxy.llama.kv import KvType
from edgeproxy.session import load as loader
from edgeproxy.session.memory_plan import Part, Plan
from tests.helpers.gguf_files import draft
from tools.measure.memory import BAR, measure
from tools.models.random_trio import Shape, write_trio

ROLES = ("base", "expert", "anti_expert")

LIBRARIES = 8_000_000
"""Bytes by which resident parts of libraries' files differ: more where they were just installed."""


def is_near(found: dict[str, Any]) -> bool:
    """Whether the estimate is within the bar of what was held."""
    peak = found["peak"]
    return bool(abs(found["estimate"] - peak) <= BAR * peak + LIBRARIES)


@pytest.fixture(scope="module")
def part(tiny_file: Path) -> Part:
    return Part.read(tiny_file)


@pytest.fixture(scope="module")
def plan(factbook: Path) -> Plan:
    files = {role: factbook.parent / f"{role.replace('_', '-')}.gguf" for role in ROLES}
    return Plan({role: Part.read(path) for role, path in files.items()})


@pytest.mark.weights
@pytest.mark.parametrize(
    ("trio", "n_ctx", "kv"),
    [("factbook", None, "f16"), ("factbook-phi", None, "f16"), ("factbook", 4096, "q8_0")],
)
def test_the_shipped_trios_hold_what_was_estimated(trio: str, n_ctx: int | None, kv: str) -> None:
    found = measure(trio, n_ctx, kv)
    if found["peak"] is None:
        pytest.skip("this system does not tell how much memory a process has held")
    assert is_near(found), found


@pytest.mark.weights
def test_a_trio_with_a_large_vocabulary_does_too(tmp_path: Path) -> None:
    small = Shape(layers=2, width=128, ffn=256, heads=2, kv_heads=1, tied=True)
    write_trio(tmp_path, small, small, 151_936, seed=0)
    found = measure(str(tmp_path / "trio.toml"))
    if found["peak"] is None:
        pytest.skip("this system does not tell how much memory a process has held")
    assert found["parts"]["vocabularies"] > found["estimate"] * 0.4
    # At times a process holds 50 MB more of libraries that were just installed; not each time.
    tried = [found, *(measure(str(tmp_path / "trio.toml")) for _ in range(2) if not is_near(found))]
    assert any(map(is_near, tried)), tried


@pytest.mark.parametrize(
    ("n_ctx", "kv", "branches"),
    [(512, "f16", 0), (4096, "f16", 0), (4096, "f16", 8), (16384, "f16", 0), (4096, "q8_0", 0)],
)
def test_compute_buffers_are_as_large_as_llama_cpp_says(
    factbook: Path, caplog: pytest.LogCaptureFixture, n_ctx: int, kv: KvType, branches: int
) -> None:
    caplog.set_level("DEBUG", "edgeproxy.llama")
    with Weights(factbook.parent / "base.gguf") as weights:
        LlamaModel(weights, n_ctx=n_ctx, kv_type=kv, n_branches=branches)
        kind = kv_type_for(weights.header, kv)
        said = [r.getMessage() for r in caplog.records if "compute buffer size =" in r.getMessage()]
        told = float(said[-1].split("=")[1].split()[0]) * (1 << 20)
        expected = compute_bytes(weights.header, n_ctx, kind, len(weights.vocab), 32, branches)
    assert expected == pytest.approx(told, rel=0.03)


def test_a_file_in_several_roles_counts_once(part: Part) -> None:
    three = Plan(dict.fromkeys(ROLES, part)).estimate()
    assert three.weights == sum(tensor.size for tensor in part.header.tensors)
    assert three.kv == 3 * 2 * 2 * 2 * 8 * 2048 * 2
    assert three.total == three.more + three.process


def test_more_of_anything_takes_more(plan: Plan) -> None:
    usual = plan.estimate()
    assert replace(plan, n_ctx=4096).estimate().kv == 4 * usual.kv
    assert replace(plan, kv_type="q8_0").estimate().kv == usual.kv * 34 // 64
    assert replace(plan, drafts=False).estimate().rows < usual.rows


def test_tied_weights_that_are_rearranged_are_held_twice(tmp_path: Path) -> None:
    tied = Shape(layers=1, width=64, ffn=128, heads=2, kv_heads=1, tied=True)
    write_trio(tmp_path, tied, tied, 2000, seed=0)
    part = Part.read(tmp_path / "base.gguf")
    once = sum(tensor.size for tensor in part.header.tensors)
    assert Plan(dict.fromkeys(ROLES, part)).estimate().weights == once + 64 * 2000 // 32 * 18


# Too little is free


def test_what_fits_is_let_through(plan: Plan) -> None:
    plan.check(Free(plan.estimate().more, ""))
    plan.check(None)


def test_models_alone_count_with_the_trio(plan: Plan) -> None:
    """A context more for each, and weights where no role has that file."""
    trio, base = plan.estimate(), plan.parts["base"]
    found = replace(plan, alone={"base": base}).estimate()
    assert (found.weights, found.vocabularies) == (trio.weights, trio.vocabularies)
    alone = found.more - trio.more
    base_only = Plan(dict.fromkeys(ROLES, base)).estimate()
    assert found.kv - trio.kv == base_only.kv // 3
    other = replace(base, header=replace(base.header, path=Path("another")))
    with_other = replace(plan, alone={"tuned": other}).estimate()
    assert with_other.weights - trio.weights == sum(tensor.size for tensor in base.header.tensors)
    assert with_other.kv == found.kv
    free = Free(trio.more + alone - 1, "this machine has free")
    plan.check(free)
    with pytest.raises(OutOfMemoryError, match="this trio and its models alone take"):
        replace(plan, alone={"base": base}).check(free)


def test_a_smaller_context_and_q8_0_are_proposed_where_they_fit(plan: Plan) -> None:
    long = replace(plan, n_ctx=8192)
    free = replace(plan, n_ctx=8192, kv_type="q8_0").estimate().more
    with pytest.raises(OutOfMemoryError, match=r"--ctx \d+.*--kv q8_0.*--force") as raised:
        long.check(Free(free, "this machine has free"))
    words = str(raised.value).split()
    fitting = int(words[words.index("(--ctx") + 1].rstrip("),"))
    replace(plan, n_ctx=fitting).check(Free(free, ""))
    with pytest.raises(OutOfMemoryError):
        replace(plan, n_ctx=fitting + 256).check(Free(free, ""))


def test_where_no_setting_helps_smaller_files_are_proposed(plan: Plan) -> None:
    least = replace(plan, n_ctx=256, kv_type="q8_0")
    estimate = least.estimate()
    with pytest.raises(
        OutOfMemoryError, match=r"another quantisation, of 7\.1 MB or less"
    ) as raised:
        least.check(Free(estimate.more - 1_000_000, ""))
    assert "--ctx" not in str(raised.value)
    assert "--kv" not in str(raised.value)
    with pytest.raises(OutOfMemoryError, match="use smaller models"):
        plan.check(Free(0, ""))


def test_too_little_is_refused_before_any_weights_are_read(
    tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "free_memory", lambda: Free(1000, "this machine has free"))
    loaded: list[str] = []
    files = dict.fromkeys(ROLES, tiny_file)

    def progress(role: str, _share: float) -> None:
        loaded.append(role)

    with pytest.raises(OutOfMemoryError, match=r"this machine has free 1\.0 kB"):
        edgeproxy.load(**files, progress=progress)  # type: ignore[arg-type]
    assert not loaded
    with edgeproxy.load(**files, force=True, progress=progress) as session:  # type: ignore[arg-type]
        assert list(session.chat("Hello", max_tokens=2))
    assert loaded


def test_bad_settings_and_files_come_first(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "free_memory", lambda: Free(0, ""))
    with pytest.raises(UsageError, match="the context must be"):
        edgeproxy.load(base=tiny_file, expert=tiny_file, anti_expert=tiny_file, n_ctx=0)
    with pytest.raises(ModelFileError, match=r"none\.gguf"):
        edgeproxy.load(base=tiny_file, expert=tiny_file, anti_expert=tmp_path / "none.gguf")


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
def test_a_real_limit_is_a_sentence_and_not_a_crash(tmp_path: Path) -> None:
    made = draft("llama")
    made.metadata["llama.context_length"] = 4096
    path = made.write(tmp_path / "tiny.gguf")
    code = (
        "import resource, sys\n"
        "import edgeproxy.session.load\n"
        "held = next(int(l.split()[1]) for l in open('/proc/self/status') if 'VmSize' in l) << 10\n"
        "resource.setrlimit(resource.RLIMIT_AS, (held + (64 << 20), resource.RLIM_INFINITY))\n"
        "from edgeproxy.cli import main\n"
        "sys.exit(main())\n"
    )
    arguments = [word for role in ROLES for word in (f"--{role.replace('_', '-')}", str(path))]
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "Hello", "--ctx", "1048576", *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "`ulimit -v` set leaves" in done.stderr
    assert "(--ctx " in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_embedding_model_of_the_documents_counts(part: Part) -> None:
    plan = Plan(dict.fromkeys(ROLES, part))
    more = replace(plan, embedding=1234)
    assert more.estimate().total == plan.estimate().total + 1234
