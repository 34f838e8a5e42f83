"""Several adapters over one small model: manifests, sessions, memory, the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import edgeproxy
from edgeproxy.decode.sample import Sampling
from edgeproxy.errors import ManifestError, ModelFileError, UsageError
from edgeproxy.gguf import read
from edgeproxy.measure.replies import run_of
from edgeproxy.session.load import load
from edgeproxy.session.memory_plan import adapter_bytes
from edgeproxy.trios.find import LoraChoice, choose_recipe, loras_of
from edgeproxy.trios.manifest import Lora, Role, read_recipe, to_toml
from tests.helpers.adapters import F32, adapter, merged, recipe_of, says
from tests.helpers.command_line import run_with
from tests.helpers.gguf_files import draft
from tests.helpers.near import assert_same_reply, rows_of

DIGEST = "ab" * 32
MANIFEST = f"""\
name = "small"

[base]
file = "base.gguf"

[expert]
prompt = "chatml"

[anti_expert]
file = "raw.gguf"

[[experts]]
file = "sub/terse.gguf"
sha256 = "{DIGEST}"
size = 123
weight = 0.7

[[experts]]
file = "polite.gguf"
weight = 0.5
name = "good manners"
"""
SUMMED = 0.01
"""What adding adapters at each step may differ by from adding them to the weights, in float32."""


# Manifests


def test_experts_are_adapters_of_the_anti_expert(tmp_path: Path) -> None:
    got, folder = recipe_of(tmp_path, MANIFEST), tmp_path.resolve()
    terse = Lora(folder / "sub" / "terse.gguf", 0.7, 123, DIGEST)
    polite = Lora(folder / "polite.gguf", 0.5, name="good manners")
    assert (terse.name, polite.name) == ("terse", "good manners")
    assert got.expert == Role(folder / "raw.gguf", "chatml", loras=(terse, polite))
    assert [file for name, file in got.files if name == "expert"] == [terse, polite]
    assert got.needed == [got.base, terse, polite, got.anti_expert]
    without = recipe_of(tmp_path, MANIFEST.replace('[expert]\nprompt = "chatml"\n', ""))
    assert without.expert == replace(got.expert, prompt="plain")


def test_they_are_written_as_they_were_read(tmp_path: Path) -> None:
    got = recipe_of(tmp_path, MANIFEST.replace("sub/", ""))
    assert recipe_of(tmp_path, to_toml(got)) == got
    # One alone is written in [expert], with its name.
    alone = replace(got, expert=got.anti_expert.with_loras(got.expert.loras[1:], "chatml"))
    assert "[[experts]]" not in to_toml(alone)
    assert recipe_of(tmp_path, to_toml(alone)) == alone


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('prompt = "chatml"', 'file = "e.gguf"', "expert.file is of no use beside [[experts]]"),
        ('prompt = "chatml"', 'lora = { file = "e" }', "expert.lora is of no use beside [[exp"),
        ('prompt = "chatml"', "size = 5", "unknown key expert.size"),
        ('prompt = "chatml"', 'prompt = "none"', "expert.prompt: there is no prompt format"),
        ("sub/terse.gguf", "../terse.gguf", "experts[1].file must stay in the manifest's folder"),
        ('"sub/terse.gguf"', '"/etc/passwd"', "experts[1].file must stay in the manifest's fol"),
        ('file = "polite.gguf"\n', "", "experts[2].file is missing"),
        ("weight = 0.5", "weight = -1", "experts[2].weight: the scale of an adapter must be 0"),
        ("weight = 0.5", "weight = nan", "experts[2].weight: the scale of an adapter must be 0"),
        ("weight = 0.5", 'weight = "1"', "experts[2].weight must be a number"),
        ("weight = 0.5", "scale = 0.5", "unknown key experts[2].scale"),
        ("good manners", "terse", "experts: two adapters are called 'terse'"),
        ("good manners", "", "experts[2].name must be a name of 1 to 64 characters"),
        ("good manners", "\\u001b[2J", "experts[2].name must be a name of 1 to 64 characters"),
        ("good manners", "x" * 65, "experts[2].name must be a name of 1 to 64 characters"),
        ('"good manners"', "5", "experts[2].name must be a string"),
        (DIGEST, "ab", "experts[1].sha256 must be 64 hexadecimal digits"),
        ('name = "small"\n', 'name = "small"\nexperts = 5 #', "not valid TOML"),
    ],
)
def test_a_wrong_one_names_the_key(tmp_path: Path, old: str, new: str, what: str) -> None:
    assert MANIFEST.count(old) == 1
    with pytest.raises(ManifestError) as error:
        recipe_of(tmp_path, MANIFEST.replace(old, new))
    assert what in str(error.value)


@pytest.mark.parametrize("value", ["5", "[]", "[5]", "{}", '"a"', '[{ file = "a" }, 5]'])
def test_experts_are_tables(tmp_path: Path, value: str) -> None:
    text = MANIFEST.partition("[[experts]]")[0].replace("\n", f"\nexperts = {value}\n", 1)
    with pytest.raises(ManifestError, match=r"experts must be tables, each under \[\[experts\]\]"):
        recipe_of(tmp_path, text)


def test_a_tuned_model_may_be_the_base_with_an_adapter(tmp_path: Path) -> None:
    text = MANIFEST.replace("sub/", "") + (
        '\n[tuned]\nlora = { file = "large.gguf", scale = 0.9 }\nprompt = "chatml"\n'
    )
    got = recipe_of(tmp_path, text)
    large = Lora(tmp_path.resolve() / "large.gguf", 0.9)
    assert got.tuned == got.base.with_loras([large], "chatml")
    assert got.files[-1] == ("tuned", large)
    assert large not in got.needed
    assert recipe_of(tmp_path, to_toml(got)) == got
    assert not got.tuned_is_here
    for name in ("base.gguf", "large.gguf"):
        (tmp_path / name).touch()
    assert got.tuned_is_here
    with pytest.raises(ManifestError, match=r"file is of no use beside lora: .* the base's"):
        recipe_of(tmp_path, text.replace("[tuned]", '[tuned]\nfile = "x"'))


# What names them


@pytest.mark.parametrize(
    ("chosen", "weights"),
    [
        ("a.gguf", {"a": 1.0}),
        (Path("a.gguf"), {"a": 1.0}),
        ({"a.gguf": 0.7, "b.gguf": 0}, {"a": 0.7, "b": 0.0}),
        ({Path("a.gguf"): 0.7}, {"a": 0.7}),
        ([("a.gguf", 0.7), ("b.gguf", 0.5)], {"a": 0.7, "b": 0.5}),
        (((Path("a.gguf"), 2),), {"a": 2.0}),
    ],
)
def test_a_path_or_paths_with_weights(chosen: LoraChoice, weights: dict[str, float]) -> None:
    assert {lora.name: lora.scale for lora in loras_of(chosen)} == weights
    recipe = choose_recipe(base="x.gguf", anti_expert="y.gguf", expert_lora=chosen)
    assert recipe.name == " + ".join(["x", *weights])
    assert recipe.expert.path == recipe.anti_expert.path


@pytest.mark.parametrize("chosen", [[], {}, {"a": -1.0}, {"a": float("nan")}, [("a", 1), ("a", 2)]])
def test_impossible_ones_are_refused(chosen: LoraChoice) -> None:
    with pytest.raises(UsageError, match=r"no adapter|scale of an adapter|given twice"):
        choose_recipe(base="x", anti_expert="y", expert_lora=chosen)


def test_adapters_whose_files_have_one_name_are_told_apart() -> None:
    paths = [(f"{folder}/lora.gguf", 1.0) for folder in ("facts", "style")]
    assert [lora.name for lora in loras_of(paths)] == ["facts/lora", "style/lora"]
    paths.append(("old/facts/lora.gguf", 1.0))
    assert [lora.name for lora in loras_of(paths)] == ["adapter 1", "adapter 2", "adapter 3"]
    assert [lora.name for lora in loras_of([("a\x1b/x", 1), ("b/x", 1)])] == [
        "adapter 1",
        "adapter 2",
    ]


def test_what_replies_depend_on_names_them(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, MANIFEST)
    run = run_of(recipe, ["proxy"], [], Sampling(), {})
    assert [(lora["name"], lora["scale"]) for lora in run["expert"]["loras"]] == [
        ("terse", 0.7),
        ("good manners", 0.5),
    ]
    other = recipe.anti_expert.with_loras(recipe.expert.loras[:1], "chatml")
    assert run_of(replace(recipe, expert=other), ["proxy"], [], Sampling(), {}) != run


# Sessions


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trio of tiny random models with two adapters, and both merged as a file."""
    folder = tmp_path_factory.mktemp("trio")
    draft("llama").write(folder / "base.gguf", 1)
    raw = draft("llama").write(folder / "raw.gguf", 2)
    terse, polite = (adapter(read(raw), kind=F32, seed=seed) for seed in (1, 2))
    (folder / "sub").mkdir()
    terse.write(folder / "sub" / "terse.gguf")
    polite.write(folder / "polite.gguf")
    half = merged(raw, terse, folder / "half.gguf", 0.7)
    merged(half, polite, folder / "merged.gguf", 0.5)
    text = MANIFEST.replace(f'sha256 = "{DIGEST}"\nsize = 123\n', "")
    (folder / "trio.toml").write_text(text, "utf-8")
    return folder


def test_two_adapters_answer_as_merged_weights(trio: Path) -> None:
    with load(trio, expert=trio / "merged.gguf", draft="off") as other:
        wanted = says(other)
        with load(trio, draft="off") as session:
            assert_same_reply(says(session), wanted, rows_of(other, "Hello"), SUMMED)
        with load(trio, expert=trio / "half.gguf", draft="off") as one:
            assert says(one) != wanted  # the second one changes something


def test_one_of_weight_0_is_as_if_it_were_not_there(trio: Path) -> None:
    chosen = {str(trio / "sub" / "terse.gguf"): 0.7}
    with load(trio, expert_lora=chosen) as session:
        wanted, memory = says(session), session.memory
    # It is not even read: there is no such file.
    with load(trio, expert_lora={**chosen, str(trio / "none.gguf"): 0.0}) as session:
        assert (says(session), session.memory) == (wanted, memory)
    with pytest.raises(ModelFileError, match=r"none\.gguf: there is no such file"):
        load(trio, expert_lora={**chosen, str(trio / "none.gguf"): 0.1})


def test_memory_counts_each_adapter_and_the_weights_once(trio: Path) -> None:
    sizes = [sum(t.size for t in read(trio / f"{n}.gguf").tensors) for n in ("base", "raw")]
    adapters = [(trio / name).stat().st_size for name in ("sub/terse.gguf", "polite.gguf")]
    with load(trio) as session:
        assert session.memory.weights == sum(sizes) + sum(adapters)
    recipe = read_recipe(trio)
    assert adapter_bytes([recipe.expert, recipe.expert]) == sum(adapters)
    none = [replace(lora, scale=0.0) for lora in recipe.expert.loras]
    assert adapter_bytes([recipe.anti_expert.with_loras(none, "plain")]) == 0


def test_a_tuned_base_answers_alone(trio: Path, tmp_path: Path) -> None:
    change = adapter(read(trio / "base.gguf"), kind=F32, seed=5)
    lora = Lora(change.write(tmp_path / "large.gguf"), 0.5)
    recipe = read_recipe(trio)
    whole = Role(merged(trio / "base.gguf", change, tmp_path / "tuned.gguf", 0.5), "chatml")
    replies = []
    for tuned in (recipe.base.with_loras([lora], "chatml"), whole):
        with load(replace(recipe, tuned=tuned), solo=["tuned"]) as session:
            replies.append(says(session, "tuned"))
            assert says(session, "base") != replies[-1]
    assert replies[0] == replies[1]


# The command line


def test_show_names_them_with_their_weights(trio: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run_with(capsys, "show", trio / "trio.toml")[1]
    assert f"expert lora        terse: {trio.resolve() / 'sub' / 'terse.gguf'}\n" in out
    assert f"expert lora        good manners: {trio.resolve() / 'polite.gguf'}\n" in out
    assert "alpha 8, weight 0.7: " in out
    assert "alpha 8, weight 0.5: " in out
    found = json.loads(run_with(capsys, "show", trio / "trio.toml", "--json")[1])["models"][
        "expert"
    ]
    assert [(lora["called"], lora["scale"]) for lora in found["loras"]] == [
        ("terse", 0.7),
        ("good manners", 0.5),
    ]
    assert "lora" not in found


def test_adapters_on_the_command_line(
    trio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "rank=16=x.gguf"
    odd.write_bytes((trio / "polite.gguf").read_bytes())
    files = ("--base", trio / "base.gguf", "--anti-expert", trio / "raw.gguf", "--max-tokens", "8")

    def reply(*loras: str) -> str:
        flags = [word for lora in loras for word in ("--expert-lora", lora)]
        code, out, err = run_with(capsys, "run", "Hello", *files, *flags)
        assert code == 0, err
        return out

    terse = str(trio / "sub" / "terse.gguf")
    assert reply(f"{terse}=0.7", f"{odd}=0") == reply(f"{terse}=.7")
    assert reply(str(odd)) == reply(f"{odd}=1") == reply(f"{odd}=1e0")
    with edgeproxy.load(
        base=trio / "base.gguf",
        anti_expert=trio / "raw.gguf",
        expert_lora={terse: 0.7, str(odd): 5.0},
    ) as session:
        assert [lora.scale for lora in session.recipe.expert.loras] == [0.7, 5.0]
    for wrong, what in (
        (f"{terse}=101", "the scale of an adapter must be 0 to 100, not 101"),
        (f"{terse}=-0.5", "the scale of an adapter must be 0 to 100, not -0.5"),
        (f"{terse}=much", "much: there is no such file"),
    ):
        code, out, err = run_with(capsys, "run", "Hello", *files, "--expert-lora", wrong)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert what in err


# Memory

CHILD = """
import json, sys
from pathlib import Path
from edgeproxy.llama import Adapter, LlamaModel, Weights

raw, *loras = sys.argv[1:]
weights = Weights(raw)
plain = LlamaModel(weights, n_ctx=512)
changed = LlamaModel(weights, n_ctx=512, adapters=[Adapter(weights, path, 0.5) for path in loras])
for model in (plain, changed):
    model.eval(list(range(5, 205)))
    for token in range(20):
        model.eval([token + 5])
status = Path("/proc/self/status").read_text()
print(json.dumps(int(status.split("VmRSS:")[1].split()[0]) * 1024))
"""


def memory_of(*paths: Path) -> int:
    """The bytes that a process holds with this model and the one with these adapters."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, paths)], capture_output=True, text=True, check=True
    )
    return int(json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_second_adapter_takes_little_more_than_its_file(tmp_path: Path) -> None:
    from tools.models.random_trio import Shape, write_trio

    small = Shape(layers=1, width=64, ffn=64, heads=1, kv_heads=1, tied=True)
    pair = Shape(layers=8, width=512, ffn=1408, heads=8, kv_heads=4, tied=True)
    write_trio(tmp_path, small, pair, 2000, seed=0)
    raw = tmp_path / "anti-expert.gguf"
    loras = [
        adapter(read(raw), rank=128, seed=seed).write(tmp_path / f"{seed}.gguf") for seed in (1, 2)
    ]
    size = loras[1].stat().st_size
    assert size > 10e6  # beside which a process's own noise is small
    more = memory_of(raw, *loras) - memory_of(raw, loras[0])
    assert 0.5 * size < more <= 1.5 * size
    planned = adapter_bytes([Role(raw, loras=tuple(map(Lora, loras)))])
    assert planned == sum(lora.stat().st_size for lora in loras)
