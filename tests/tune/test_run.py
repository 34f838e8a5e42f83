"""The whole walk on a tiny model: what is written, what is refused, and what an end leaves."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeproxy import files as files_written
from edgeproxy.core.memory_free import Free
from edgeproxy.documents.indexing import index_documents
from edgeproxy.documents.named import path_of
from edgeproxy.errors import (
    Cancelled,
    DocumentError,
    EdgeproxyError,
    ModelFileError,
    OutOfMemoryError,
    TuningError,
    UsageError,
)
from edgeproxy.gguf import read, read_adapter
from edgeproxy.trios.find import find_recipe
from edgeproxy.trios.known_files import KnownFiles
from edgeproxy.trios.manifest import Documents
from edgeproxy.tune import run as walk
from edgeproxy.tune import train as training
from edgeproxy.tune.check import check_adapter
from edgeproxy.tune.lora import write_adapter
from edgeproxy.tune.loss import backward
from edgeproxy.tune.progress import Plan, Progress
from edgeproxy.tune.request import Request, Stop, Tuned, Watch
from edgeproxy.tune.run import tune
from tests.helpers.gguf_files import draft
from tests.helpers.small_models import small_model, write_examples

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = {"epochs": 2, "rate": 0.02, "rank": 4, "seed": 0, "threads": 1, "dtype": "float32"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, a large one, and examples."""
    folder = tmp_path_factory.mktemp("files")
    small_model(folder / "small.gguf")
    small_model(folder / "large.gguf", width=64, seed=1)
    write_examples(folder / "examples.jsonl")
    return folder


@pytest.fixture
def asked(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """A tuning that makes a trio."""
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    return Request(
        files / "examples.jsonl",
        files / "small.gguf",
        tmp_path / "mine",
        base=files / "large.gguf",
        settings=SETTINGS,
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Heard(Watch):
    """Remembers what was said; `at` is called with each progress of the training."""

    def __init__(self, at: Callable[[Progress], None] = lambda _: None) -> None:
        self.said: list[tuple[str, str]] = []
        self.plans: list[Plan] = []
        self._at = at

    def noted(self, topic: str, what: str) -> None:
        self.said.append((topic, what))

    def heard(self, what: Plan | Progress) -> None:
        if isinstance(what, Plan):
            self.plans.append(what)
        else:
            self._at(what)

    def of(self, topic: str) -> str:
        return "\n".join(what for about, what in self.said if about == topic)


def stopped_at(asked: Request, step: int, presses: int = 1) -> tuple[Stop, Heard]:
    """Ctrl-C at this step of the training."""
    stop = Stop()

    def at(progress: Progress) -> None:
        if progress.step == step and not stop.presses:
            for _ in range(presses):
                stop.press()

    return stop, Heard(at)


def test_a_trio_comes_of_it(asked: Request, files: Path) -> None:
    heard = Heard()
    done = tune(asked, heard)
    assert names(asked.folder) == ["adapter.gguf", "trio.toml", "tuning.json"]
    assert done == Tuned(
        asked.folder, asked.folder / "adapter.gguf", asked.folder / "trio.toml", done.record, True
    )
    recipe = find_recipe(str(asked.folder))
    assert (recipe.base.path, recipe.anti_expert.path) == (
        files / "large.gguf",
        files / "small.gguf",
    )
    assert [role.prompt for role in recipe.roles.values()] == ["plain", "chatml", "chatml"]
    assert [lora.path for lora in recipe.expert.loras] == [done.adapter]
    assert read_adapter(done.adapter, read(asked.model)).ranks == (4, 4)
    assert "20 examples" in heard.of("examples")
    assert "llama" in heard.of("model")
    assert "rank 4" in heard.of("settings")
    assert "llama.cpp says the same" in heard.of("check")
    assert len(heard.plans) == 1


def test_the_record_says_what_an_auditor_asks(asked: Request) -> None:
    tune(asked)
    record = json.loads((asked.folder / "tuning.json").read_text())
    assert record["run"]["model"] == KnownFiles().add(asked.model)
    assert record["run"]["rate"] == 0.02
    assert record["data"]["training"] + record["data"]["held_out"] == 20
    assert record["result"]["best_loss"] < record["result"]["first_loss"]
    assert record["check"]["agreement"]["error"] < 2e-2
    assert record["adapter"]["size"] == (asked.folder / "adapter.gguf").stat().st_size
    assert record["model"]["architecture"] == "llama"
    assert str(asked.model.parent) not in json.dumps(record), "no path of this user's is in it"


def test_without_a_base_there_is_an_adapter_and_a_base_can_come_later(asked: Request) -> None:
    alone = tune(replace(asked, base=None))
    assert names(asked.folder) == ["adapter.gguf", "tuning.json"]
    assert alone.manifest is None
    before = alone.adapter.read_bytes()
    later = tune(asked)
    assert (later.is_new, later.manifest) == (False, asked.folder / "trio.toml")
    assert alone.adapter.read_bytes() == before
    assert (
        later.record["adapter"] == json.loads((asked.folder / "tuning.json").read_text())["adapter"]
    )


def test_the_same_again_changes_nothing(asked: Request) -> None:
    first = tune(asked)
    written = {path: path.read_bytes() for path in asked.folder.iterdir()}
    assert not tune(asked).is_new
    assert not tune(replace(asked, resume=True)).is_new
    assert {path: path.read_bytes() for path in asked.folder.iterdir()} == written
    assert first.is_new


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": {**SETTINGS, "rate": 0.01}}, "rate was 0.02 and is 0.01"),
        ({"prompt": "plain"}, "prompt was chatml and is plain"),
    ],
)
@pytest.mark.parametrize("resume", [False, True])
def test_another_tunings_adapter_is_not_replaced(
    change: dict[str, Any], said: str, resume: bool, asked: Request
) -> None:
    done = tune(asked)
    before = done.adapter.read_bytes()
    with pytest.raises(UsageError, match=said):
        tune(replace(asked, resume=resume, **change))
    assert done.adapter.read_bytes() == before


def test_what_was_found_for_the_trio_stays_when_it_is_written_again(asked: Request) -> None:
    tune(asked)
    manifest = asked.folder / "trio.toml"
    manifest.write_text(manifest.read_text().replace("alpha = 1.0", "alpha = 0.5"))
    tune(asked)
    assert find_recipe(str(asked.folder)).steering.alpha == 0.5


def test_the_large_model_tuned_directly_joins_its_trio(asked: Request, files: Path) -> None:
    tune(asked)
    direct = replace(asked, model=files / "large.gguf", base=None, is_direct=True)
    done = tune(direct)
    assert names(asked.folder) == [
        "adapter.gguf",
        "trio.toml",
        "tuned.gguf",
        "tuned.json",
        "tuning.json",
    ]
    recipe = find_recipe(str(asked.folder))
    assert recipe.tuned is not None
    assert recipe.tuned.path == files / "large.gguf"
    assert [lora.path for lora in recipe.tuned.loras] == [done.adapter]
    assert recipe.tuned.prompt == "chatml"


def test_another_large_model_does_not_join(asked: Request, files: Path) -> None:
    tune(asked)
    with pytest.raises(UsageError, match="another base"):
        tune(replace(asked, base=None, is_direct=True))


def test_ctrl_c_keeps_the_best_so_far(asked: Request) -> None:
    stop, heard = stopped_at(asked, step=4)
    done = tune(asked, heard, stop)
    assert done.record["result"]["ending"] == "stopped"
    assert 4 <= done.record["result"]["steps"] < 6
    assert names(asked.folder) == [
        "adapter.checkpoint.npz",
        "adapter.gguf",
        "trio.toml",
        "tuning.json",
    ]
    with pytest.raises(UsageError, match="--resume"):
        tune(asked)


def test_ctrl_c_before_the_held_out_loss_is_known_keeps_what_there_is(asked: Request) -> None:
    stop, heard = stopped_at(asked, step=1)
    done = tune(asked, heard, stop)
    result = done.record["result"]
    assert (result["ending"], result["best_loss"]) == ("stopped", None)
    assert result["first_loss"] > 0
    assert "before the held-out loss was looked at again" in heard.of("trained")


def test_after_ctrl_c_it_goes_on_to_the_same_result(asked: Request, tmp_path: Path) -> None:
    whole = tune(replace(asked, folder=tmp_path / "whole"))
    stop, heard = stopped_at(asked, step=4)
    tune(asked, heard, stop)
    resumed = tune(replace(asked, resume=True))
    assert resumed.adapter.read_bytes() == whole.adapter.read_bytes()
    assert names(asked.folder) == ["adapter.gguf", "trio.toml", "tuning.json"]
    result = {**resumed.record["result"], "seconds": 0, "loss": 0}
    assert result == {**whole.record["result"], "seconds": 0, "loss": 0}


def test_a_second_ctrl_c_stops_at_once_and_keeps_the_checkpoint(asked: Request) -> None:
    stop, heard = stopped_at(asked, step=4, presses=2)
    with pytest.raises(Cancelled):
        tune(asked, heard, stop)
    assert names(asked.folder) == ["adapter.checkpoint.npz"]
    with pytest.raises(UsageError, match="cut short; go on with --resume"):
        tune(asked)
    assert tune(replace(asked, resume=True)).is_new


def test_ctrl_c_during_the_comparison_keeps_the_checkpoint(
    asked: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Stop()

    def pressed(*arguments: Any) -> Any:
        stop.press()
        return check_adapter(*arguments)

    monkeypatch.setattr(walk, "check_adapter", pressed)
    with pytest.raises(Cancelled):
        tune(asked, None, stop)
    assert names(asked.folder) == ["adapter.checkpoint.npz"]


def test_ctrl_c_before_training_leaves_nothing_to_go_on_with(asked: Request) -> None:
    stop = Stop()
    stop.press()
    with pytest.raises(Cancelled):
        tune(asked, None, stop)
    assert not asked.folder.exists()


def test_a_difference_to_llama_cpp_is_an_error_and_no_file(
    asked: Request, monkeypatch: pytest.MonkeyPatch
) -> None:

    def wrong(path: Path, network: Any, **options: Any) -> None:
        for block in network.blk:
            block.attn_output.lora_b.data.mul_(3.0)
        write_adapter(path, network, **options)
        for block in network.blk:
            block.attn_output.lora_b.data.div_(3.0)

    monkeypatch.setattr(walk, "write_adapter", wrong)
    with pytest.raises(TuningError, match="differ from PyTorch's"):
        tune(asked)
    assert names(asked.folder) == ["adapter.checkpoint.npz"]
    monkeypatch.undo()
    monkeypatch.setenv("EDGEPROXY_HOME", str(asked.folder.parent / "home"))
    assert tune(replace(asked, resume=True)).is_new


def test_a_loss_that_is_no_number_is_one_error(
    asked: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0] * 5 + [math.nan] * 100)

    def diverging(*arguments: Any) -> float:
        backward(*arguments)
        return next(losses)

    monkeypatch.setattr(training, "backward", diverging)
    with pytest.raises(TuningError, match=r"loss is nan.*--rate"):
        tune(asked)
    assert names(asked.folder) == ["adapter.checkpoint.npz"]


def test_a_full_disk_at_the_end_loses_nothing(
    asked: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, network: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(walk, "write_adapter", full)
    with pytest.raises(TuningError, match=r"No space left.*kept in .*checkpoint\.npz.*--resume"):
        tune(asked)
    assert names(asked.folder) == ["adapter.checkpoint.npz"]


def test_too_little_memory_is_told_before_weights_are_read(
    asked: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "free_memory", lambda: Free(1000, "this machine has free"))
    monkeypatch.setattr(walk, "load_network", None)
    with pytest.raises(OutOfMemoryError, match="this machine has free"):
        tune(asked)
    assert not asked.folder.exists()


def test_with_force_memory_is_no_matter(asked: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "free_memory", lambda: Free(1000, "this machine has free"))
    assert tune(replace(asked, force=True)).is_new


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "there is no example"),
        ('{"question": "a", "answer": "b"}\n{"question": "c"}\n', "examples.jsonl:2"),
        ('{"one": "a", "two": "b"}\n', "examples.jsonl:1"),
    ],
)
def test_wrong_examples_are_named(content: str, said: str, asked: Request, tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text(content)
    with pytest.raises(UsageError, match=said):
        tune(replace(asked, examples=path))
    assert not asked.folder.exists()


def test_wrong_lines_can_be_passed_over_and_are_told(asked: Request, tmp_path: Path) -> None:
    path = write_examples(tmp_path / "examples.jsonl")
    path.write_text(path.read_text() + "no JSON\n")
    heard = Heard()
    tune(replace(asked, examples=path, skip_bad=True), heard)
    assert "examples.jsonl:21" in heard.of("left out")
    assert "1 wrong" in heard.of("examples")


def test_a_single_example_can_be_learnt(asked: Request, tmp_path: Path) -> None:
    path = write_examples(tmp_path / "examples.jsonl", count=1)
    heard = Heard()
    done = tune(replace(asked, examples=path), heard)
    assert done.record["result"]["best_loss"] is None
    assert "nothing was held out" in heard.of("trained")
    assert math.isfinite(done.record["result"]["loss"])


def test_files_that_are_not_there_are_named(asked: Request, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    with pytest.raises(UsageError, match="nothing"):
        tune(replace(asked, examples=nothing))
    for request in (replace(asked, model=nothing), replace(asked, base=nothing)):
        with pytest.raises(ModelFileError, match="nothing: there is no such file"):
            tune(request)


def test_an_architecture_that_cannot_be_tuned_is_refused_before_anything(
    asked: Request, tmp_path: Path
) -> None:
    made = draft("llama")
    renamed = {key.replace("llama.", "starcoder2."): value for key, value in made.metadata.items()}
    made.metadata = {**renamed, "general.architecture": "starcoder2"}
    path = made.write(tmp_path / "other.gguf")
    with pytest.raises(UsageError, match=r"starcoder2 models cannot be tuned here.*llama, qwen2"):
        tune(replace(asked, model=path))
    assert not asked.folder.exists()


def test_a_folder_that_cannot_be_made_is_told_at_once(asked: Request, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="name another folder"):
        tune(replace(asked, folder=tmp_path / "file" / "mine"))


def test_what_others_have_put_there_stays(asked: Request) -> None:
    asked.folder.mkdir()
    other = asked.folder / "trio.toml"
    other.write_text("name = 'somebody'")
    with pytest.raises(UsageError, match="did not tune"):
        tune(asked)
    other.rename(asked.folder / "adapter.gguf")
    with pytest.raises(UsageError, match="from elsewhere"):
        tune(asked)
    assert names(asked.folder) == ["adapter.gguf"]


def test_a_damaged_record_is_named(asked: Request) -> None:
    tune(asked)
    (asked.folder / "tuning.json").write_text("{")
    with pytest.raises(UsageError, match=r"tuning\.json is damaged"):
        tune(asked)


def test_a_checkpoint_of_other_settings_is_not_gone_on_with(asked: Request) -> None:
    stop, heard = stopped_at(asked, step=4, presses=2)
    with pytest.raises(Cancelled):
        tune(asked, heard, stop)
    with pytest.raises(EdgeproxyError, match="rate"):
        tune(replace(asked, resume=True, settings={**SETTINGS, "rate": 0.01}))
    assert names(asked.folder) == ["adapter.checkpoint.npz"]


@pytest.mark.parametrize("resume", [False, True])
def test_somebodys_adapter_is_never_replaced(resume: bool, asked: Request) -> None:
    asked.folder.mkdir()
    theirs = asked.folder / "adapter.gguf"
    theirs.write_bytes(b"theirs")
    with pytest.raises(UsageError, match="from elsewhere"):
        tune(replace(asked, resume=resume))
    assert theirs.read_bytes() == b"theirs"


def test_an_adapter_without_its_record_goes_on_from_the_checkpoint(asked: Request) -> None:
    stop, heard = stopped_at(asked, step=4)
    adapter = tune(asked, heard, stop).adapter
    for name in ("tuning.json", "trio.toml"):  # as a kill right after the adapter leaves it
        (asked.folder / name).unlink()
    (asked.folder / ".edgeproxy-0123.part").write_bytes(b"half")
    with pytest.raises(UsageError, match="cut short; go on with --resume"):
        tune(asked)
    assert adapter.exists()
    assert tune(replace(asked, resume=True)).is_new
    assert names(asked.folder) == ["adapter.gguf", "trio.toml", "tuning.json"]


def test_a_rate_that_only_llama_cpp_cannot_bear_is_told_as_that(asked: Request) -> None:
    with pytest.raises(TuningError, match="lower --rate"):
        tune(replace(asked, settings={**SETTINGS, "rate": 1.0}))
    assert names(asked.folder) == ["adapter.checkpoint.npz"]


def test_memory_that_ends_while_loading_is_one_error(
    asked: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 bytes")

    monkeypatch.setattr(walk, "load_network", refuse)
    with pytest.raises(OutOfMemoryError, match="close other programs"):
        tune(asked)
    assert not asked.folder.exists()


@pytest.mark.parametrize("changed", ["examples", "validation", "model"])
def test_what_was_changed_since_is_named_before_weights_are_read(
    changed: str, asked: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(
        asked,
        examples=write_examples(tmp_path / "examples.jsonl"),
        validation=tmp_path / "validation.jsonl",
        model=small_model(tmp_path / "small.gguf"),
    )
    assert asked.validation is not None
    asked.validation.write_text('{"question": "Who?", "answer": "You."}\n')
    stop, heard = stopped_at(asked, step=3, presses=2)
    with pytest.raises(Cancelled):
        tune(asked, heard, stop)
    kept = (asked.folder / "adapter.checkpoint.npz").read_bytes()
    if changed == "model":
        small_model(asked.model, seed=5)
        said = "another model file"
    else:
        path = asked.examples if changed == "examples" else asked.validation
        path.write_text(path.read_text().replace("Wh", "Ho"))
        said = {"examples": "other examples to train on", "validation": "other examples held out"}[
            changed
        ]
    with monkeypatch.context() as patch:
        patch.setattr(walk, "load_network", None)
        with pytest.raises(TuningError, match=f"checkpoint.npz is of a tuning with {said}: .*rem"):
            tune(replace(asked, resume=True))
    assert (asked.folder / "adapter.checkpoint.npz").read_bytes() == kept
    (asked.folder / "adapter.checkpoint.npz").unlink()
    assert tune(asked).is_new, "begun anew, as the error says"


class _Full:
    """Lets the disk be full when a file is made to last for the `at`th time, from 0."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int | None = None) -> None:
        self.count, self.at, self._sync = 0, at, files_written._sync
        patch.setattr(files_written, "_sync", self)

    def __call__(self, file: Any) -> None:
        self.count += 1
        if self.count - 1 == self.at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._sync(file)


def test_a_disk_that_is_full_at_any_writing_is_one_error_and_it_goes_on(
    asked: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        full = _Full(patch)
        whole = tune(replace(asked, folder=tmp_path / "whole"))
    assert full.count >= 5, "checkpoints, the adapter, its record, the trio"
    for at in range(full.count):
        request = replace(asked, folder=tmp_path / f"full{at}")
        monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / f"home{at}"))
        with monkeypatch.context() as patch:
            _Full(patch, at)
            with pytest.raises(EdgeproxyError) as error:
                tune(request)
        said = str(error.value)
        assert "No space left" in said or "disk is full" in said, at
        assert str(tmp_path) in said, at
        assert ".part" not in said, "a file that nobody named"
        if request.folder.exists():
            assert not any(request.folder.glob("*.part")), at
        adapter = tune(replace(request, resume=True)).adapter
        assert adapter.read_bytes() == whole.adapter.read_bytes(), at
        assert names(request.folder) == ["adapter.gguf", "trio.toml", "tuning.json"], at


def test_a_trio_that_learnt_to_read_names_its_documents(asked: Request, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    with asked.examples.open(encoding="utf-8") as file:
        example = json.loads(next(file))
    (notes / "all.txt").write_text(f"{' '.join(map(str, example.values()))}\n", "utf-8")
    index_documents(path_of("work"), [notes])
    heard = Heard()
    made = tune(replace(asked, docs="work"), heard)
    assert made.manifest is not None
    assert find_recipe(str(made.manifest)).documents == Documents("work", "expert")
    assert made.record["run"]["docs"] == "work"
    assert "with passages found for them" in heard.of("documents")
    with pytest.raises(UsageError, match="was tuned otherwise"):
        tune(asked)


def test_documents_that_are_not_there_are_told_before_anything(asked: Request) -> None:
    with pytest.raises(DocumentError, match="there is no index 'nowhere'"):
        tune(replace(asked, docs="nowhere"))
    with pytest.raises(UsageError, match="and this is a path"):
        tune(replace(asked, docs="./work.sqlite"))
    assert not asked.folder.exists()
