"""`edgeproxy doctor`: what it says of features, processors, variables and trios, and its codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeproxy.cli import main
from edgeproxy.measure import doctor as diagnose
from edgeproxy.session.memory_free import Free


def urgent(advice: object) -> list[bool]:
    return [one.urgent for one in advice]  # type: ignore[attr-defined]


def test_features_are_read_from_what_llama_cpp_says() -> None:
    told = "CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 | OPENMP = 1 | REPACK = 1 | "
    assert diagnose.compiled_features(told) == {"SSE3", "AVX2", "OPENMP", "REPACK"}
    assert diagnose.compiled_features("") == set()


@pytest.mark.parametrize(
    ("text", "able"),
    [
        ("flags\t: fpu avx avx2 fma f16c avx512f\n", {"AVX", "AVX2", "FMA", "F16C", "AVX512"}),
        ("Features\t: fp asimd asimddp i8mm\n", {"NEON", "DOTPROD", "MATMUL_INT8"}),
    ],
)
def test_the_machines_features_are_read(text: str, able: set[str], tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert diagnose.machine_features(path) == able
    assert diagnose.machine_features(tmp_path / "none") <= set(diagnose.FEATURES)


def test_a_build_without_what_the_processor_has_is_slow() -> None:
    (advice,) = diagnose._of_features({"AVX"}, {"AVX", "AVX2"})
    assert advice.urgent
    assert "AVX2" in advice.what
    assert "--no-binary llama-cpp-python" in advice.do
    assert urgent(diagnose._of_features({"AVX"}, {"AVX", "AVX512"})) == [False]
    assert not list(diagnose._of_features({"AVX"}, {"AVX"}))
    assert not list(diagnose._of_features(set(), {"AVX2"}))  # it does not say


def test_a_quota_and_a_load_are_told() -> None:
    assert urgent(diagnose._of_processors(8, 0.1, 2.0)) == [True]
    assert urgent(diagnose._of_processors(8, 7.0, None)) == [False]
    assert urgent(diagnose._of_processors(8, None, 8.0)) == []


def test_variables_that_slow_are_told_and_secrets_are_not() -> None:
    found = diagnose.relevant({"HF_TOKEN": "hf_x", "OMP_WAIT_POLICY": "ACTIVE", "PATH": "/bin"})
    assert found == {"HF_TOKEN": "(set)", "OMP_WAIT_POLICY": "ACTIVE"}
    assert urgent(diagnose._of_variables(found, 4)) == [True]
    assert urgent(diagnose._of_variables({"OMP_THREAD_LIMIT": "1"}, 4)) == [True]
    assert not list(diagnose._of_variables({"OMP_THREAD_LIMIT": "4"}, 4))


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with nothing amiss."""
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path))
    monkeypatch.setattr(diagnose, "free_memory", lambda: Free(10**10, "this machine has free"))
    monkeypatch.setattr(diagnose, "machine_features", set)
    monkeypatch.setattr(diagnose, "cpu_quota", lambda: None)
    for name in ("OMP_WAIT_POLICY", "OMP_THREAD_LIMIT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("quiet")
def test_all_that_is_here_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "nothing needs attention" in shown
    assert len(shown.splitlines()) < 40
    for words in ("factbook ", "factbook-phi", "compiled for", "10.0 GB", "disk free"):
        assert words in shown


@pytest.mark.usefixtures("quiet")
def test_its_json_is_strict(capsys: pytest.CaptureFixture[str], factbook: Path) -> None:
    assert main(["doctor", str(factbook), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (trio,) = found["trios"]
    assert trio["fits"] is True
    assert trio["total"] == sum(trio["needs"].values())
    assert found["ok"] is True


@pytest.mark.usefixtures("quiet")
def test_a_trio_that_does_not_fit_needs_attention(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(diagnose, "free_memory", lambda: Free(1000, "this machine has free"))
    assert main(["doctor", "factbook"]) == 1
    shown = capsys.readouterr().out
    assert "does not fit" in shown
    assert "needs attention: factbook: this trio takes" in shown


@pytest.mark.usefixtures("quiet")
def test_a_damaged_trio_is_told_beside_the_others(
    factbook: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("base", "expert", "anti-expert"):
        (tmp_path / "mine" / f"{name}.gguf").write_bytes(b"no model")
    (tmp_path / "mine" / "trio.toml").write_bytes(factbook.read_bytes())
    assert main(["doctor", str(tmp_path / "mine")]) == 1
    assert "damaged" in capsys.readouterr().out
    assert main(["doctor", "no-such-trio"]) == 2
