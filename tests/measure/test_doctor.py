"""`edgeproxy doctor`: what it says of features, processors, variables and trios, and its codes."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeproxy.cli import main
from edgeproxy.core.memory_free import Free
from edgeproxy.measure import doctor as diagnose
from edgeproxy.measure import machine
from edgeproxy.trios.store import Store
from tests.helpers import store_trios


def urgent(advice: object) -> list[bool]:
    return [one.urgent for one in advice]  # type: ignore[attr-defined]


def test_features_are_read_from_what_llama_cpp_says() -> None:
    told = "CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 | OPENMP = 1 | REPACK = 1 | "
    assert diagnose.compiled_features(told) == {"SSE3", "AVX2", "OPENMP", "REPACK"}
    assert diagnose.compiled_features("") == set()


X86_FLAGS = "flags\t: fpu avx avx2 fma f16c avx512f\n"
X86 = {"AVX", "AVX2", "FMA", "F16C", "AVX512"}
ARM_FLAGS = "Features\t: fp asimd asimddp i8mm\n"
ARM = {"NEON", "DOTPROD", "MATMUL_INT8"}


@pytest.mark.parametrize(
    ("architecture", "text", "able"),
    [
        ("x86_64", X86_FLAGS, X86),
        ("AMD64", X86_FLAGS, X86),
        ("aarch64", ARM_FLAGS, ARM),
        ("aarch64", X86_FLAGS, set()),  # an emulated Linux shows the flags of its host
        ("x86_64", ARM_FLAGS, set()),
        ("riscv64", X86_FLAGS, set()),
    ],
)
def test_the_machines_features_are_those_of_its_architecture(
    architecture: str, text: str, able: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "PROC", tmp_path)
    monkeypatch.setattr(platform, "machine", lambda: architecture)
    assert machine.machine_features() == able


def test_elsewhere_numpy_tells_of_the_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"AVX2": True, "AVX512F": False, "ASIMD": True, "ASIMDDP": False}
    module = SimpleNamespace(__cpu_features__=told)
    monkeypatch.setattr(machine, "PROC", tmp_path / "none")
    monkeypatch.setattr(machine, "import_module", lambda _: module)
    for architecture, able in (("x86_64", {"AVX2"}), ("arm64", {"NEON"})):
        monkeypatch.setattr(platform, "machine", lambda here=architecture: here)
        assert machine.machine_features() == able
    monkeypatch.setattr(machine, "import_module", lambda _: SimpleNamespace())
    assert machine.machine_features() == set()


def test_a_build_without_what_the_processor_has_is_slow() -> None:
    (advice,) = diagnose._of_features({"AVX"}, {"AVX", "AVX2"})
    assert advice.urgent
    assert "AVX2" in advice.what
    assert "--no-binary llama-cpp-python" in advice.do
    assert urgent(diagnose._of_features({"AVX"}, {"AVX", "AVX512"})) == [False]
    assert not list(diagnose._of_features({"AVX"}, {"AVX"}))
    assert not list(diagnose._of_features(set(), {"AVX2"}))  # it does not say


def test_a_quota_and_a_load_are_told() -> None:
    (advice,) = diagnose._of_processors(2, 8, 0.1, 2.5)
    assert not advice.urgent  # models get no more threads than that
    assert "the time of 2.5 of 8 processors, and models get 2 threads" in advice.what
    (advice,) = diagnose._of_processors(1, 8, 0.1, 0.5)
    assert "models get one thread" in advice.what
    assert urgent(diagnose._of_processors(8, 8, 7.0, None)) == [False]
    assert urgent(diagnose._of_processors(8, 8, None, 8.0)) == []
    assert urgent(diagnose._of_processors(2, 8, None, 6.0)) == []  # a mask allows fewer


def test_variables_that_slow_are_told_and_secrets_are_not() -> None:
    found = diagnose.relevant({"HF_TOKEN": "hf_x", "OMP_WAIT_POLICY": "ACTIVE", "PATH": "/bin"})
    assert found == {"HF_TOKEN": "(set)", "OMP_WAIT_POLICY": "ACTIVE"}
    assert urgent(diagnose._of_variables(found, 4)) == [True]
    assert urgent(diagnose._of_variables({"OMP_THREAD_LIMIT": "1"}, 4)) == [True]
    assert not list(diagnose._of_variables({"OMP_THREAD_LIMIT": "4"}, 4))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://user:pa55@hub.example/x", "https://***@hub.example/x"),
        ("https://pa55@hub.example", "https://***@hub.example"),
        ("http://user:p@pa55@hub.example:80", "http://***@hub.example:80"),
        ("https://hub.example/a@b", "https://hub.example/a@b"),
        ("/home/user@work", "/home/user@work"),
    ],
)
@pytest.mark.usefixtures("quiet")
def test_passwords_in_addresses_are_not_shown(
    value: str, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", value)
    for arguments in (["doctor"], ["doctor", "--json"]):
        main(arguments)
        said = capsys.readouterr().out
        assert shown in said
        assert "pa55" not in said


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with nothing amiss."""
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path))
    monkeypatch.setattr(diagnose, "free_memory", lambda: Free(10**10, "this machine has free"))
    monkeypatch.setattr(diagnose, "machine_features", set)
    monkeypatch.setattr(diagnose, "cpu_quota", lambda: None)
    monkeypatch.setattr(diagnose, "probe", lambda: None)
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
    shown = capsys.readouterr().out
    assert "damaged" in shown
    assert "missing" not in shown
    assert "do: put the right files there" in shown
    assert main(["doctor", "no-such-trio"]) == 2


@pytest.mark.usefixtures("quiet")
def test_missing_files_are_called_missing(
    factbook: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "trio.toml").write_bytes(factbook.read_bytes())
    shutil.copy(factbook.parent / "base.gguf", folder)
    assert main(["doctor", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert "anti-expert.gguf, expert.gguf are missing" in shown
    assert "damaged" not in shown
    assert main(["doctor", str(folder), "--json"]) == 1
    (trio,) = json.loads(capsys.readouterr().out)["trios"]
    assert trio["missing"] == ["anti-expert.gguf", "expert.gguf"]
    assert (trio["origin"], trio["needs"], trio["fits"]) == ("path", None, None)


@pytest.mark.usefixtures("quiet")
def test_what_to_do_about_an_installed_trio(capsys: pytest.CaptureFixture[str]) -> None:
    store = Store()
    store_trios.install(store, "mine")
    store.recipe("mine").expert.path.unlink()
    assert main(["doctor", "mine"]) == 1
    shown = capsys.readouterr().out
    assert "needs attention: mine: y.gguf is missing" in shown
    assert "do: edgeproxy pull mine, or install its bundle again" in shown
    (store.trios / "mine" / "trio.toml").write_text("nonsense")
    assert main(["doctor", "mine"]) == 1  # a finding, not the end
    shown = capsys.readouterr().out
    assert "damaged" in shown
    assert "do: edgeproxy verify mine, which says what is wrong" in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "raise RuntimeError('libgomp.so.1: cannot open shared object file')",
            "libgomp.so.1",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGABRT)", "ends Python by SIGABRT"),
    ],
)
def test_it_works_where_llama_cpp_does_not(code: str, said: str, tmp_path: Path) -> None:
    """A library that it needs is missing, or it was compiled for another processor."""
    (tmp_path / "llama_cpp.py").write_text(code)
    (tmp_path / "home").mkdir()
    path = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "EDGEPROXY_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "edgeproxy", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    assert said in found["advice"][0]["what"]
    assert found["advice"][0]["urgent"]
    assert found["versions"]["llama_cpp"] is None
    assert [trio["trio"] for trio in found["trios"]] == ["factbook", "factbook-phi"]


@pytest.mark.usefixtures("quiet")
def test_a_machine_that_cannot_load_llama_cpp_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], factbook: Path
) -> None:
    def fails() -> diagnose.Engine:
        return diagnose.Engine(problem="libgomp.so.1 is missing; apt-get install libgomp1")

    monkeypatch.setattr(diagnose, "load_engine", fails)
    assert main(["doctor", str(factbook)]) == 1
    shown = capsys.readouterr().out
    for words in (
        "cannot be loaded",
        "unknown without llama.cpp",
        "needs attention: libgomp.so.1 is missing",
        "do: apt-get install libgomp1",
    ):
        assert words in shown
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["llama_cpp"] is None
    assert not found["ok"]
    assert {trio["problem"] for trio in found["trios"]} == {None}
