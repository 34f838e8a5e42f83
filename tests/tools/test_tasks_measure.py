"""tools/tasks measure: the steps of each row in their order, done once, and the table of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.errors import Cancelled, UsageError
from tools.tasks import child, measure
from tools.tasks.build import Sources
from tools.tasks.measure import Measuring, StepFailedError, read_record, unfinished
from tools.tasks.rows import ROWS, choose
from tools.tasks.table import table

HALF = "proxy/base_weight=0.5"


def figures(right: float, **more: Any) -> dict[str, Any]:
    return {"accuracy": right, "interval": [right - 0.05, right + 0.05], "n": 180, **more}


class Fake:
    """Runs nothing: answers as edgeproxy would, and remembers what it was asked for."""

    def __init__(self, chosen: str = HALF) -> None:
        self.asked: list[list[str]] = []
        self.chosen, self.ending = chosen, "epochs"
        self.codes: dict[str, int] = {}

    def __call__(
        self, arguments: Sequence[str], output: Path, log: Path, tick: Callable[[], None]
    ) -> int:
        self.asked.append(list(arguments))
        log.write_text("what it was at\nthe disk is full\n", "utf-8")
        tick()
        verb = arguments[0]
        if code := self.codes.get(verb, 0):
            return code
        output.write_text(json.dumps(getattr(self, verb)(list(arguments))), "utf-8")
        return 0

    @property
    def verbs(self) -> list[str]:
        return [arguments[0] for arguments in self.asked]

    def tune(self, arguments: list[str]) -> dict[str, Any]:
        trio = Path(arguments[arguments.index("-o") + 1])
        is_new = not trio.exists() or "--direct" in arguments
        trio.mkdir(parents=True, exist_ok=True)
        (trio / "trio.toml").write_text("as in the paper", "utf-8")
        (trio / "adapter.checkpoint.npz").write_text("large", "utf-8")
        return {"new": is_new, "data": {"kept": 420}, "result": {"ending": self.ending}}

    def fit(self, arguments: list[str]) -> dict[str, Any]:
        Path(arguments[1]).write_text("as found", "utf-8")
        return {"chosen": {"setting": self.chosen}, "verdict": "Steer, by half."}

    def eval(self, arguments: list[str]) -> dict[str, Any]:
        systems = arguments[arguments.index("--systems") + 1].split(",")
        shares = {"base": 0.1, "expert": 0.29, "proxy": 0.55, "tuned": 0.6, HALF: 0.52}
        found = {name: figures(shares[name], said=None) for name in systems}
        found["base"]["said"] = 0.57
        kept = {"kept": 0.95, "kept_interval": [0.9, 0.99]}
        general = {"systems": {name: figures(0.6, **kept) for name in systems}}
        is_general = "--general" in arguments
        return {
            "questions": 180,
            "systems": found,
            "gap_closed": 0.9,
            "general": general if is_general else None,
        }


@pytest.fixture
def measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Measuring]:
    """Makes a `Measuring` in `tmp_path`, where tasks and models are taken to be there."""
    monkeypatch.setattr(measure, "model_path", lambda folder, name: folder / f"{name}.gguf")
    for task in ("facts", "intents", "gsm8k"):
        (tmp_path / "tasks" / task).mkdir(parents=True)
        (tmp_path / "tasks" / task / "test.jsonl").touch()

    def make(
        fake: Fake,
        said: list[str] | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Measuring:
        heard = [] if said is None else said
        return Measuring(tmp_path, Path("models"), Sources(), fake, tell=tell, say=heard.append)

    return make


Make = Callable[..., Measuring]


def test_a_row_is_tuned_fitted_and_evaluated(measuring: Make, tmp_path: Path) -> None:
    fake = Fake()
    measuring(fake).row(ROWS["facts-smollm2"])
    assert fake.verbs == ["tune", "fit", "eval"]
    tune, fit, evaluate = fake.asked
    assert {"--small", "--base", "--resume", "--json"} <= set(tune)
    assert fit[1] == str(tmp_path / "facts-smollm2" / "fitted" / "trio.toml")
    assert evaluate[1] == str(tmp_path / "facts-smollm2" / "paper" / "trio.toml")
    assert evaluate[evaluate.index("--systems") + 1] == f"base,expert,proxy,{HALF}"
    assert Path(evaluate[1]).read_text("utf-8") == "as in the paper"
    assert not (tmp_path / "facts-smollm2" / "fitted" / "adapter.checkpoint.npz").exists()
    record = read_record(tmp_path, ROWS["facts-smollm2"], "fit")
    assert record
    assert record["command"].startswith("edgeproxy fit ")
    assert record["found"]["chosen"]["setting"] == HALF


def test_a_row_may_have_a_limit_of_its_fit(measuring: Make) -> None:
    fake = Fake()
    measuring(fake).rows(choose("gsm8k-qwen"))
    (fit,) = (arguments for arguments in fake.asked if arguments[0] == "fit")
    assert fit[fit.index("--minutes") + 1] == "45"


def test_what_is_done_is_not_done_again(measuring: Make, tmp_path: Path) -> None:
    row = ROWS["facts-smollm2"]
    measuring(Fake()).row(row)
    fake = Fake()
    measuring(fake).row(row)
    assert fake.asked == []
    (tmp_path / row.name / "eval.json").unlink()
    assert list(unfinished(tmp_path, [row])) == [(row, ["eval"])]
    measuring(fake).row(row)
    assert fake.verbs == ["eval"]


@pytest.mark.parametrize("chosen", ["expert", "base", "proxy"])
def test_what_fit_chose_is_measured_once(measuring: Make, chosen: str) -> None:
    fake = Fake(chosen)
    measuring(fake).row(ROWS["facts-qwen"])
    assert "base,expert,proxy" in fake.asked[-1]


def test_another_base_takes_the_adapter_of_the_row_that_has_it(measuring: Make) -> None:
    fake = Fake()
    measuring(fake).row(ROWS["facts-smollm2-gemma"])
    assert fake.verbs == ["tune", "tune", "fit", "eval"]
    first, second = fake.asked[:2]
    assert first[first.index("--base") + 1] != second[second.index("--base") + 1]


def test_direct_tuning_goes_into_a_copy(measuring: Make, tmp_path: Path) -> None:
    fake = Fake()
    measuring(fake).row(ROWS["direct-facts"])
    assert fake.verbs == ["tune", "tune", "eval"]
    direct, evaluate = fake.asked[1:]
    assert "--direct" in direct
    assert "--base" not in direct
    assert direct[direct.index("-o") + 1] == str(tmp_path / "direct-facts" / "paper")
    assert "base,proxy,tuned" in evaluate
    assert "--general" in evaluate


def test_a_failing_step_names_its_command_and_keeps_the_log(
    measuring: Make, tmp_path: Path
) -> None:
    fake = Fake()
    fake.codes = {"fit": 1}
    with pytest.raises(StepFailedError) as caught:
        measuring(fake).row(ROWS["facts-qwen"])
    log = tmp_path / "facts-qwen" / "fit.log"
    for part in (
        "facts-qwen: fit failed with code 1: the disk is full",
        "edgeproxy fit ",
        str(log),
    ):
        assert part in str(caught.value)
    assert log.exists()
    assert not (tmp_path / "facts-qwen" / "fit.json").exists()


def test_other_rows_do_not_wait_for_one_that_failed(measuring: Make) -> None:
    fake, said = Fake(), list[str]()
    fake.codes = {"tune": -9}
    rows = choose("facts-smollm2,facts-smollm2-gemma,facts-qwen")
    assert measuring(fake, said).rows(rows) == [row.name for row in rows]
    assert fake.verbs == ["tune", "tune"]
    assert any("was killed by signal 9" in line for line in said)


def test_an_interruption_leaves_a_step_to_go_on_with(measuring: Make, tmp_path: Path) -> None:
    row, fake = ROWS["facts-smollm2"], Fake()
    fake.codes = {"eval": 130}
    with pytest.raises(Cancelled):
        measuring(fake).rows([row])
    (tmp_path / row.name / "eval.seconds").write_text("3600", "ascii")
    fake.codes = {}
    measuring(fake).row(row)
    assert fake.verbs == ["tune", "fit", "eval", "eval"]
    assert fake.asked[-1] == fake.asked[-2]
    assert "--resume" in fake.asked[-1]
    record = read_record(tmp_path, row, "eval")
    assert record
    assert record["seconds"] >= 3600


def test_a_tuning_that_was_stopped_is_not_done(measuring: Make, tmp_path: Path) -> None:
    fake = Fake()
    fake.ending = "stopped"
    with pytest.raises(Cancelled):
        measuring(fake).row(ROWS["facts-qwen"])
    assert read_record(tmp_path, ROWS["facts-qwen"], "tune") is None


def test_the_table(measuring: Make, tmp_path: Path) -> None:
    assert "Nothing has been measured yet" in table(tmp_path)
    for name in ("facts-smollm2", "facts-smollm2-gemma", "direct-facts"):
        measuring(Fake()).row(ROWS[name])
    lines = table(tmp_path).splitlines()
    assert lines[2] == (
        "| facts: SmolLM2-135M-Instruct under Qwen2.5-Coder-1.5B-Instruct (180 questions) "
        "| 420, 0.0 min | 10% [5, 15] (57%) | 29% [24, 34] | 55% [50, 60] "
        "| base_weight=0.5: 52% [47, 57] | 60% [55, 65] | Steer, by half. |"
    )
    assert "| 420, tuned above |" in lines[3]
    assert "| - | Steer" in lines[3]
    direct = next(line for line in lines if line.startswith("| facts: Qwen"))
    assert "| 90% | 60% [55, 65] | 95% [90, 99] | 95% [90, 99] |" in direct
    assert "95% intervals" in lines[-1]


def test_a_table_of_what_is_not_there_yet_has_dashes(measuring: Make, tmp_path: Path) -> None:
    fake = Fake()
    fake.codes = {"fit": 1}
    with pytest.raises(StepFailedError):
        measuring(fake).row(ROWS["facts-qwen"])
    assert "| 420, 0.0 min | - | - | - | - | - | - |" in table(tmp_path)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "facts-qwen").mkdir()
    (tmp_path / "facts-qwen" / "fit.json").write_text("[]", "utf-8")
    with pytest.raises(UsageError, match=r"fit\.json: this is no record"):
        read_record(tmp_path, ROWS["facts-qwen"], "fit")


def test_an_unknown_row_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no row 'facts'; there are facts-smollm2"):
        choose("facts")


def test_a_child_is_interrupted_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{_PATIENT}'\n", "utf-8")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    log = tmp_path / "log"

    def tick() -> None:
        if log.read_text("utf-8"):
            raise Cancelled("interrupted")

    with pytest.raises(Cancelled):
        child.run_edgeproxy(["tune"], tmp_path / "output", log, tick)
    assert log.read_text("utf-8") == "ready\nkept\n"


_PATIENT = """
import sys, time
try:
    print("ready", file=sys.stderr, flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("kept", file=sys.stderr)
"""
