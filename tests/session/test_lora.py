"""A LoRA adapter as a trio's expert: manifests, sessions, memory, the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import edgeproxy
from edgeproxy.core.model import Logits
from edgeproxy.decode.steering import Steering
from edgeproxy.errors import ManifestError, ModelFileError, UsageError
from edgeproxy.gguf import read
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.prompts.formats import Message
from edgeproxy.session.load import load
from edgeproxy.trios.find import choose_recipe
from edgeproxy.trios.manifest import Lora, Recipe, Role, parse_recipe, read_recipe, to_toml
from edgeproxy.trios.store import Store
from tests.helpers.adapters import F32, adapter, matrices, merged, recipe_of, says
from tests.helpers.command_line import run_with
from tests.helpers.gguf_files import draft
from tests.helpers.near import assert_same_reply, rows_of

DIGEST = "ab" * 32
MANIFEST = f"""\
name = "small"
plausibility = 0.01

[base]
file = "base.gguf"

[expert]
lora = {{ file = "sub/lora.gguf", sha256 = "{DIGEST}", size = 123, scale = 0.5 }}
prompt = "chatml"

[anti_expert]
file = "raw.gguf"
size = 7
"""


# Manifests


def test_an_expert_may_be_an_adapter(tmp_path: Path) -> None:
    got, folder = recipe_of(tmp_path, MANIFEST), tmp_path.resolve()
    lora = Lora(folder / "sub" / "lora.gguf", 0.5, 123, DIGEST)
    assert got.anti_expert == Role(folder / "raw.gguf", size=7)
    assert got.expert == Role(folder / "raw.gguf", "chatml", size=7, loras=(lora,))
    assert got.files == [("base", got.base), ("expert", lora), ("anti_expert", got.anti_expert)]
    plain = recipe_of(tmp_path, MANIFEST.replace(", scale = 0.5", ""))
    assert plain.expert.loras == (replace(lora, scale=1.0),)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_it_is_written_as_it_was_read(tmp_path: Path, scale: float) -> None:
    got = recipe_of(tmp_path, MANIFEST.replace("0.5", str(scale)).replace("sub/", ""))
    assert recipe_of(tmp_path, to_toml(got)) == got


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('file = "sub/lora.gguf", ', "", "expert.lora.file is missing"),
        ("sub/lora.gguf", "../lora.gguf", "expert.lora.file must stay in the manifest's folder"),
        ("sub/lora.gguf", "/etc/passwd", "expert.lora.file must stay in the manifest's folder"),
        ('"sub/lora.gguf"', "5", "expert.lora.file must be a string"),
        (DIGEST, "ab", "expert.lora.sha256 must be 64 hexadecimal digits"),
        ("size = 123", "size = -1", "expert.lora.size must be 0 or more"),
        ("size = 123", 'size = "1"', "expert.lora.size must be a number of bytes"),
        ("scale = 0.5", "scale = -1", "expert.lora.scale: the scale of an adapter must be 0 to"),
        ("scale = 0.5", "scale = nan", "expert.lora.scale: the scale of an adapter must be 0 to"),
        ("scale = 0.5", "scale = true", "expert.lora.scale must be a number"),
        ("scale = 0.5", "scael = 0.5", "unknown key expert.lora.scael"),
        ('prompt = "chatml"', 'promt = "chatml"', "unknown key expert.promt"),
        ('prompt = "chatml"', 'prompt = "none"', "expert.prompt: there is no prompt format"),
        ('prompt = "chatml"', "size = 5", "unknown key expert.size"),
        ('prompt = "chatml"', 'file = "e.gguf"', "expert.file is of no use beside lora"),
        ("lora = {", "lora = 5 #", "expert.lora must be a table"),
        ('file = "raw.gguf"', 'lora = { file = "a" }', "anti_expert.file is missing"),
        ("size = 7", 'lora = { file = "a" }', "unknown key anti_expert.lora"),
        ('file = "base.gguf"', 'file = "b"\nlora = {}', "unknown key base.lora"),
    ],
)
def test_a_wrong_one_names_the_key(tmp_path: Path, old: str, new: str, what: str) -> None:
    assert MANIFEST.count(old) == 1
    with pytest.raises(ManifestError) as error:
        recipe_of(tmp_path, MANIFEST.replace(old, new))
    assert what in str(error.value)


def test_arguments_and_recipes() -> None:
    lora = Lora(Path("l"))
    recipe = Recipe("r", Role(Path("b")), Role(Path("e"), "chatml", 5), Role(Path("a"), "plain", 6))
    changed = choose_recipe(recipe, expert_lora="l")
    assert changed == replace(recipe, expert=Role(Path("a"), "chatml", 6, loras=(lora,)))
    # Another anti-expert is another expert's weights, and another expert needs no adapter.
    other = choose_recipe(changed, anti_expert="c")
    assert other.expert == Role(Path("c"), "chatml", loras=(lora,))
    assert choose_recipe(changed, expert="f").expert == Role(Path("f"), "chatml")
    files = choose_recipe(base="b", anti_expert="a", expert_lora="l")
    assert (files.name, files.expert) == ("b + l", Role(Path("a"), "auto", loras=(lora,)))


def test_two_experts_are_refused() -> None:
    with pytest.raises(UsageError, match="the expert is either e or the anti-expert with the ad"):
        choose_recipe("factbook", expert="e", expert_lora="l")
    with pytest.raises(UsageError, match="no model for base:"):
        choose_recipe(anti_expert="a", expert_lora="l")


def test_a_store_keeps_the_adapter_beside_the_weights(tmp_path: Path) -> None:
    import hashlib

    store, manifest = Store(tmp_path / "home"), MANIFEST.replace("size = 7\n", "")
    for name in ("base.gguf", "raw.gguf", "sub/lora.gguf"):
        data = name.encode()
        sha256 = hashlib.sha256(data).hexdigest()
        with store.incoming(sha256, len(data)) as file:
            file.write(data)
            file.commit()
        if "lora" in name:
            manifest = manifest.replace(DIGEST, sha256).replace("123", str(len(data)))
        else:
            manifest = manifest.replace(f'"{name}"', f'"{name}"\nsha256 = "{sha256}"')
    store.install("small", manifest)
    recipe = store.recipe("small")
    assert len(recipe.expert.loras) == 1
    assert recipe.expert.loras[0].path.read_bytes() == b"sub/lora.gguf"
    assert recipe.expert.path == recipe.anti_expert.path
    assert [finding.problem for finding in store.verify()] == [None] * 3
    assert len(store.remove("small")) == 3


# Sessions


SUMMED = 0.01
"""What adding an adapter at each step may differ by from adding it to the weights, in float32."""


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trio of tiny random models whose expert is an adapter, as two files too."""
    folder = tmp_path_factory.mktemp("trio")
    draft("llama").write(folder / "base.gguf", 1)
    raw = draft("llama").write(folder / "raw.gguf", 2)
    change = adapter(read(raw), kind=F32)
    (folder / "sub").mkdir()
    path = change.write(folder / "sub" / "lora.gguf")
    merged(raw, change, folder / "merged.gguf")
    text = MANIFEST.replace(f', sha256 = "{DIGEST}", size = 123, scale = 0.5', "")
    (folder / "trio.toml").write_text(text.replace("size = 7\n", ""), "utf-8")
    assert path.is_file()
    return folder


@pytest.mark.parametrize("mode", ["off", "expert"])
def test_a_trio_with_an_adapter_answers_as_with_merged_weights(trio: Path, mode: str) -> None:
    merged = load(trio, expert=trio / "merged.gguf", draft="off")
    wanted = says(merged), says(merged, "expert")
    with load(trio, draft=mode) as session, merged:  # type: ignore[arg-type]
        assert_same_reply(says(session), wanted[0], rows_of(merged, "Hello"), SUMMED)
        prompt = session.trio_speaker.encode([Message("user", "Hello")]).expert
        with Weights(trio / "merged.gguf") as weights:
            model = LlamaModel(weights)

            def row_after(said: Sequence[int]) -> Logits:
                model.rewind(model.n_past)
                row: Logits = model.eval([*prompt, *said])[-1]
                return row

            assert_same_reply(says(session, "expert"), wanted[1], row_after, SUMMED)
        assert says(session, "anti_expert") != wanted[1]
        assert session.matches["expert"].case == "same"


def test_the_weights_of_the_pair_are_held_once(trio: Path) -> None:
    seen: list[str] = []
    with load(trio, progress=lambda role, _share: seen.append(role)) as session:
        sizes = [sum(t.size for t in read(trio / f"{n}.gguf").tensors) for n in ("base", "raw")]
        recipe = session.recipe
        assert len(recipe.expert.loras) == 1
        size = recipe.expert.loras[0].path.stat().st_size
        assert session.memory.weights == sum(sizes) + size
        before = session.memory
        says(session, "expert")
        assert session.memory == before
        session.close()
        session.close()
    assert list(dict.fromkeys(seen)) == ["base", "expert"]


def test_a_scale_of_nothing_is_the_base_alone(trio: Path) -> None:
    recipe = read_recipe(trio)
    assert len(recipe.expert.loras) == 1
    nothing = replace(recipe.expert.loras[0], scale=0.0)
    # The prompts must be the same too.
    expert = replace(recipe.expert, loras=(nothing,), prompt="plain")
    with load(replace(recipe, expert=expert, steering=Steering())) as session:
        assert_same_reply(says(session), says(session, "base"), rows_of(session, "Hello"))


def test_files_alone_will_do(trio: Path) -> None:
    base, raw, lora = (trio / name for name in ("base.gguf", "raw.gguf", "sub/lora.gguf"))
    with edgeproxy.load(base=base, anti_expert=raw, expert_lora=lora) as session:
        assert says(session)
        assert session.recipe.name == "base + lora"


def test_an_adapter_for_another_model_is_refused(trio: Path, tmp_path: Path) -> None:
    other = draft("llama", width=64).write(tmp_path / "wide.gguf")
    path = adapter(read(other), matrices(read(other))[:3]).write(tmp_path / "lora.gguf")
    with pytest.raises(ModelFileError, match=r"lora\.gguf: its change of .* do not fit .* made fo"):
        load(trio, expert_lora=path)
    with pytest.raises(ModelFileError, match=r"none\.gguf: there is no such file"):
        load(trio, expert_lora=tmp_path / "none.gguf")


def test_a_prompt_cache_is_of_its_adapter(trio: Path, tmp_path: Path) -> None:
    cache = tmp_path / "rules.prefix"
    for lora, spared, doubt in (
        (None, False, None),
        (None, True, None),
        ("other.gguf", False, "another adapter for the expert"),
        ("other.gguf", True, None),
    ):
        if lora and not (tmp_path / lora).exists():
            adapter(read(trio / "raw.gguf"), seed=9).write(tmp_path / lora)
        with load(trio, expert_lora=tmp_path / lora if lora else None) as session:
            found = session.cache_prompt("Be brief, and say where it is.", cache)
        assert (found.spared > 0, doubt in (found.doubt or "") if doubt else found.doubt) == (
            spared,
            True if doubt else None,
        )
    with load(trio, expert=trio / "raw.gguf") as session:
        found = session.cache_prompt("Be brief, and say where it is.", cache)
        assert found.spared == 0


# The command line


def test_show_names_the_adapter_and_its_rank(
    trio: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run_with(capsys, "show", trio / "trio.toml")
    assert code == 0
    assert "expert lora        " in out
    assert "rank 4, alpha 8, weight 1: 15 matrices changed" in out
    code, out, _ = run_with(capsys, "show", trio / "trio.toml", "--json")
    found = json.loads(out)["models"]["expert"]
    assert found["file"] == str((trio / "raw.gguf").resolve())
    (lora,) = found["loras"]
    assert lora["file"] == str((trio / "sub" / "lora.gguf").resolve())
    assert (lora["name"], lora["called"]) == ("lora.gguf", "lora")
    assert (lora["rank"], lora["scale"]) == (4, 1.0)
    assert found["lora"] == lora


def test_run_and_stats(trio: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_with(
        capsys, "run", "Hello", "--trio", trio / "trio.toml", "--stats", "--max-tokens", "3"
    )
    assert (code, bool(out)) == (0, True)
    assert "pair: same vocabulary" in err
    lora = trio / "sub" / "lora.gguf"
    files = ("--base", trio / "base.gguf", "--anti-expert", trio / "raw.gguf")
    assert (
        run_with(capsys, "run", "Hello", *files, "--expert-lora", lora, "--max-tokens", "3")[0] == 0
    )


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--expert", "raw.gguf", "--expert-lora", "sub/lora.gguf"), "leave one of them out"),
        (("--expert-lora", "none.gguf"), "none.gguf: there is no such file"),
        (("--expert-lora", "raw.gguf"), "raw.gguf: it holds 'model', not an adapter"),
        (("--anti-expert", "sub/lora.gguf"), "lora.gguf: it holds 'adapter', not a model"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    trio: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    what: str,
) -> None:
    monkeypatch.chdir(trio)
    code, out, err = run_with(capsys, "run", "Hello", "--trio", "trio.toml", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert what in err


def test_a_recipe_may_name_an_adapter_on_a_hub() -> None:
    place = f'repo = "a/b"\nrevision = "{"0" * 40}"\nsha256 = "{DIGEST}"\n'
    lora = place.strip().replace("\n", ", ")
    text = MANIFEST.replace(f'sha256 = "{DIGEST}"', lora)
    text = text.replace('"base.gguf"\n', f'"base.gguf"\n{place}')
    text = text.replace('"raw.gguf"\n', f'"raw.gguf"\n{place}')
    got = parse_recipe(text.encode(), Path("x.toml"), lambda table: Path(table.string("file")))
    assert len(got.expert.loras) == 1
    assert got.expert.loras[0].source is not None
    assert got.expert.loras[0].source.file == "sub/lora.gguf"


# Memory

CHILD = """
import json, sys
from pathlib import Path
from edgeproxy.gguf import read
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.llama import Adapter, LlamaModel, Weights

def held():
    status = Path("/proc/self/status").read_text()
    return [int(status.split(f"{name}:")[1].split()[0]) for name in ("VmHWM", "VmRSS")]

models, others = [], []
first, *rest = sys.argv[1:]
weights = Weights(first)
models.append(LlamaModel(weights, n_ctx=512))
for path in rest:
    if "lora" in path:
        models.append(LlamaModel(weights, n_ctx=512, adapters=[Adapter(weights, path)]))
    else:
        others.append(Weights(path))
        models.append(LlamaModel(others[-1], n_ctx=512))
for model in models:
    model.eval(list(range(5, 205)))
    for token in range(20):
        model.eval([token + 5])
print(json.dumps(held()))
"""


def memory_of(*paths: Path) -> tuple[int, int]:
    """The most bytes that a process with a context for each file holds, and those at its end."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, paths)], capture_output=True, text=True, check=True
    )
    most, now = json.loads(done.stdout)
    return most * 1024, now * 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_pair_takes_little_more_than_one_model(tmp_path: Path) -> None:
    """Of Q4_0, which llama.cpp rearranges: weights that were held twice would show."""
    from tools.models.random_trio import Shape, write_trio

    small = Shape(layers=1, width=64, ffn=64, heads=1, kv_heads=1, tied=True)
    pair = Shape(layers=12, width=1024, ffn=2816, heads=16, kv_heads=4, tied=True)
    write_trio(tmp_path, small, pair, 2000, seed=0)
    raw = tmp_path / "anti-expert.gguf"
    lora = adapter(read(raw), rank=8).write(tmp_path / "lora.gguf")
    one, both, files = (
        memory_of(*paths) for paths in ([raw], [raw, lora], [raw, tmp_path / "expert.gguf"])
    )
    for n in range(2):
        assert both[n] <= 1.15 * one[n]
        # What two files take is beyond that: the bar means something here.
        assert files[n] > 1.15 * one[n]
