"""LoRA adapters in llama.cpp: they answer as merged weights do, and nothing kills the process."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeproxy.core.model import Logits
from edgeproxy.errors import EngineError, ModelFileError, UsageError
from edgeproxy.gguf import fingerprint, read, read_adapter
from edgeproxy.llama import Adapter, LlamaModel, Weights, quantize
from tests.helpers.adapters import (
    BF16,
    F16,
    F32,
    Q8_0,
    adapter,
    matrices,
    merged,
    read_draft,
    renamed,
)
from tests.helpers.gguf_files import ARCHITECTURES, Draft, Raw, draft
from tests.helpers.near import NEAR
from tools.models.grow import grow, shape_of

TOKENS = [int(token) for token in np.random.default_rng(0).integers(3, 260, 30)]
ROWS = 20


def rows(weights: Weights, change: Adapter | None = None) -> Logits:
    model = LlamaModel(weights, n_ctx=64, adapters=[change] if change else [])
    found: Logits = model.eval(TOKENS, ROWS).copy()
    model.close()
    return found


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = draft(request.param)
    return made.write(tmp_path_factory.mktemp("models") / f"{request.param}.gguf")


def test_every_matrix_alone_and_all_together_answer_as_merged(
    model_file: Path, tmp_path: Path
) -> None:
    """No matrix that is accepted is one that llama.cpp would leave as it is."""
    header = read(model_file)
    embedding = [t for t in header.tensors if t.name == "token_embd.weight"]
    has_output = any(t.name == "output.weight" for t in header.tensors)
    found = [*matrices(header), *(embedding if has_output else [])]
    first = [t for t in found if not t.name.startswith("blk.1")]
    with Weights(model_file) as weights:
        before = rows(weights)
        for changed in (*([tensor] for tensor in first), found):
            change = adapter(header, changed, kind=F32)
            path = change.write(tmp_path / "lora.gguf")
            with Weights(merged(model_file, change, tmp_path / "merged.gguf")) as other:
                wanted = rows(other)
            got = rows(weights, Adapter(weights, path))
            names = [tensor.name for tensor in changed]
            assert np.abs(wanted - before).max() > 0.01, names
            assert np.abs(got - wanted).max() < 0.01, names
            (tmp_path / "lora.gguf").unlink()
            (tmp_path / "merged.gguf").unlink()


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0])
def test_a_scale_is_how_much_is_added(tiny_file: Path, tmp_path: Path, scale: float) -> None:
    change = adapter(read(tiny_file), kind=F32)
    path = change.write(tmp_path / "lora.gguf")
    merged(tiny_file, change, tmp_path / "merged.gguf", scale)
    with Weights(tiny_file) as weights, Weights(tmp_path / "merged.gguf") as other:
        got = rows(weights, Adapter(weights, path, scale))
        np.testing.assert_allclose(got, rows(other), atol=0.01)


@pytest.mark.parametrize("scale", [-1.0, 101.0, float("nan"), float("inf")])
def test_an_impossible_scale_is_refused(tiny: Weights, tmp_path: Path, scale: float) -> None:
    path = adapter(read(tiny.path)).write(tmp_path / "lora.gguf")
    with pytest.raises(UsageError, match="scale"):
        Adapter(tiny, path, scale)


@pytest.mark.parametrize(("kind", "least"), [("q8_0", 0.99), ("q4_0", 0.8)])
def test_quantised_weights_are_changed_alike(tmp_path: Path, kind: str, least: float) -> None:
    """Also those that llama.cpp rearranges for the processor."""
    full = draft("llama", width=256).write(tmp_path / "full.gguf")
    quantize(full, tmp_path / "small.gguf", kind)
    change = adapter(read(full), kind=F32)
    path = change.write(tmp_path / "lora.gguf")
    merged(full, change, tmp_path / "merged.gguf")
    with Weights(full) as weights, Weights(tmp_path / "merged.gguf") as other:
        wanted = rows(other) - rows(weights)
    with Weights(tmp_path / "small.gguf") as weights:
        got = rows(weights, Adapter(weights, path)) - rows(weights)
    assert np.corrcoef(got.ravel(), wanted.ravel())[0, 1] > least


def test_one_context_has_it_and_the_other_has_not(tiny_file: Path, tmp_path: Path) -> None:
    """At once, in two threads, over one copy of the weights."""
    path = adapter(read(tiny_file)).write(tmp_path / "lora.gguf")
    with Weights(tiny_file) as weights:
        change = Adapter(weights, path)
        plain, changed = LlamaModel(weights, n_ctx=64), LlamaModel(weights, adapters=[change])
        wanted = [rows(weights), rows(weights, change)]
        assert np.abs(wanted[0] - wanted[1]).max() > 0.1
        faults = []

        def repeat(model: LlamaModel, expected: Logits) -> None:
            for _ in range(30):
                found = model.eval(TOKENS, ROWS)
                faults.extend([] if np.allclose(found, expected, rtol=0, atol=NEAR) else [model])
                model.rewind(len(TOKENS))

        threads = [
            threading.Thread(target=repeat, args=pair)
            for pair in zip((plain, changed), wanted, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []


def test_it_is_given_back_with_the_weights(tiny_file: Path, tmp_path: Path) -> None:
    path = adapter(read(tiny_file)).write(tmp_path / "lora.gguf")
    weights = Weights(tiny_file)
    own = weights.n_bytes
    change = Adapter(weights, path)
    assert (
        weights.n_bytes
        == own + change.n_bytes
        == own + sum(tensor.size for tensor in change.header.tensors)
    )
    model = LlamaModel(weights, adapters=[change])
    model.eval(TOKENS)
    weights.close()
    weights.close()
    model.close()
    with pytest.raises(EngineError, match="closed"):
        model.eval([5])
    with pytest.raises(EngineError, match="closed"):
        Adapter(weights, path)
    with pytest.raises(EngineError, match="closed"):
        LlamaModel(weights, adapters=[change])


def test_an_adapter_of_other_weights_is_refused(tiny: Weights, tmp_path: Path) -> None:
    path = adapter(read(tiny.path)).write(tmp_path / "lora.gguf")
    with Weights(tiny.path) as other:
        change = Adapter(other, path)
        with pytest.raises(UsageError, match="was loaded for"):
            LlamaModel(tiny, adapters=[change])
        assert LlamaModel(tiny).eval([5]).shape == (1, 268)


def test_two_adapters_are_the_model_with_both_merged(tiny_file: Path, tmp_path: Path) -> None:
    """W + sum_i scale_i * alpha_i / rank_i * B_i A_i, of ranks and matrices of their own."""
    header = read(tiny_file)
    one = adapter(header, rank=4, kind=F32, seed=1)
    two = adapter(header, matrices(header)[3:], rank=2, kind=F32, seed=2)
    paths = [one.write(tmp_path / "1.gguf"), two.write(tmp_path / "2.gguf")]
    merged(tiny_file, one, tmp_path / "half.gguf", 0.7)
    both = merged(tmp_path / "half.gguf", two, tmp_path / "both.gguf", 0.5)
    with Weights(tiny_file) as weights, Weights(both) as other:
        first, second = (Adapter(weights, *of) for of in zip(paths, (0.7, 0.5), strict=True))
        model = LlamaModel(weights, n_ctx=64, adapters=[first, second])
        found, wanted = model.eval(TOKENS, ROWS), rows(other)
        assert np.abs(found - wanted).max() < 5 * NEAR
        assert np.abs(rows(weights, first) - wanted).max() > 0.05
        assert np.abs(rows(weights, second) - wanted).max() > 0.05
        swapped = LlamaModel(weights, n_ctx=64, adapters=[second, first]).eval(TOKENS, ROWS)
        assert np.allclose(swapped, found, rtol=0, atol=NEAR)


def test_a_scale_of_0_is_as_if_it_were_not_there(tiny: Weights, tmp_path: Path) -> None:
    """Bit for bit: the same work is done, in the same order."""
    header = read(tiny.path)
    paths = [adapter(header, seed=n).write(tmp_path / f"{n}.gguf") for n in (1, 2)]
    one, none = Adapter(tiny, paths[0]), Adapter(tiny, paths[1], 0.0)
    for with_it, without in (([none], []), ([one, none], [one]), ([none, one], [one])):
        found, wanted = (
            LlamaModel(tiny, n_ctx=64, adapters=of).eval(TOKENS, ROWS).copy()
            for of in (with_it, without)
        )
        assert np.array_equal(found, wanted)


def test_one_adapter_twice_is_refused(tiny: Weights, tmp_path: Path) -> None:
    """llama.cpp would count it once."""
    change = Adapter(tiny, adapter(read(tiny.path)).write(tmp_path / "lora.gguf"))
    with pytest.raises(UsageError, match=r"lora\.gguf: this adapter is given twice"):
        LlamaModel(tiny, n_ctx=64, adapters=[change, change])


def test_a_state_is_of_its_adapter(tiny: Weights, tmp_path: Path) -> None:
    header = read(tiny.path)
    one, other = (
        Adapter(tiny, adapter(header, seed=n).write(tmp_path / f"{n}.gguf")) for n in (1, 2)
    )
    half, none = (Adapter(tiny, tmp_path / "1.gguf", scale) for scale in (0.5, 0.0))
    chosen: tuple[list[Adapter], ...] = (
        [],
        [one],
        [other],
        [half],
        [one],
        [one, other],
        [none, one],
        [none],
    )
    origins = [LlamaModel(tiny, adapters=adapters).origin() for adapters in chosen]
    assert [origins.index(origin) for origin in origins] == [0, 1, 2, 3, 1, 5, 1, 0]
    assert {**origins[0], "adapter": ""} == {**origins[1], "adapter": ""}
    (tmp_path / "2.gguf").write_bytes((tmp_path / "1.gguf").read_bytes())
    with pytest.raises(ModelFileError, match=r"2\.gguf: it was replaced"):
        LlamaModel(tiny, adapters=[other]).origin()


# What is refused


def put(**metadata: object) -> Callable[[Draft], object]:
    return lambda made: made.metadata.update(
        {key.replace("__", "."): value for key, value in metadata.items()}
    )


def reshape(name: str, shape: tuple[int, ...], kind: int = F16) -> Callable[[Draft], object]:
    def change(made: Draft) -> None:
        made.tensors[name] = (shape, kind)
        made.data.pop(name)

    return change


def fill(name: str, data: bytes, kind: int = F16) -> Callable[[Draft], object]:
    """Have a tensor's numbers begin with `data`."""

    def change(made: Draft) -> None:
        shape, _ = made.tensors[name]
        made.tensors[name] = (shape, kind)
        made.data[name] = data + made.data[name][len(data) :]

    return change


Q = "blk.0.attn_q.weight"
NAN_F16, INF_F16, NAN_F32 = b"\x01\x7e", b"\x00\x7c", b"\x00\x00\xc0\x7f"

FAULTS: dict[str, tuple[Callable[[Draft], object], str]] = {
    "a model": (put(general__type="model"), "it holds 'model', not an adapter"),
    "no type": (lambda made: made.metadata.pop("general.type"), "not an adapter"),
    "a type that is a number": (put(general__type=5), "general.type is not text"),
    "another type of adapter": (put(adapter__type="ia3"), "type 'ia3', not a LoRA"),
    "no type of adapter": (lambda made: made.metadata.pop("adapter.type"), "lacks adapter.type"),
    "an adapter type that is a number": (put(adapter__type=1.0), "adapter.type is not text"),
    "no alpha": (lambda made: made.metadata.pop("adapter.lora.alpha"), "lacks adapter.lora.alpha"),
    "alpha as text": (put(adapter__lora__alpha="8"), "adapter.lora.alpha is not a number"),
    "alpha not a number": (put(adapter__lora__alpha=float("nan")), "not a finite number"),
    "alpha infinite": (put(adapter__lora__alpha=float("inf")), "not a finite number"),
    "alpha 0": (put(adapter__lora__alpha=0.0), "alpha is 0, not above 0"),
    "alpha negative": (put(adapter__lora__alpha=-1.0), "alpha is -1, not above 0"),
    "alpha enormous": (put(adapter__lora__alpha=1e9), "not above 0 and at most 10^6"),
    "another kind of LoRA": (
        put(adapter__alora__invocation_tokens=[5, 6]),
        "has adapter.alora.invocation_tokens",
    ),
    "another architecture": (put(general__architecture="qwen2"), "it is for qwen2 models"),
    "an architecture that is a number": (put(general__architecture=5), "is not text"),
    "no architecture": (lambda made: made.metadata.pop("general.architecture"), "lacks general"),
    "no tensors": (lambda made: made.tensors.clear(), "changes nothing"),
    "half a pair": (lambda made: made.tensors.pop(f"{Q}.lora_a"), "without the other"),
    "the other half": (lambda made: made.tensors.pop(f"{Q}.lora_b"), "without the other"),
    "a rank that differs": (reshape(f"{Q}.lora_a", (32, 8)), "do not fit"),
    "turned around": (reshape(f"{Q}.lora_a", (4, 32)), "do not fit"),
    "for a wider model": (reshape(f"{Q}.lora_b", (4, 64)), "do not fit"),
    "a dimension too many": (reshape(f"{Q}.lora_a", (32, 4, 2)), "do not fit"),
    "a dimension too few": (reshape(f"{Q}.lora_a", (32,)), "do not fit"),
    "integers": (reshape(f"{Q}.lora_a", (32, 4), 26), "has the type i32, not one of f32, f16"),
    "doubles": (reshape(f"{Q}.lora_b", (4, 32), 28), "has the type f64"),
    "a type that quantises ranks": (reshape(f"{Q}.lora_a", (32, 4), 2), "has the type q4_0"),
    "f16 NaN": (fill(f"{Q}.lora_a", NAN_F16), "has a number that is not finite"),
    "f16 infinity": (fill(f"{Q}.lora_b", b"\0" * 20 + INF_F16), "has a number that is not finite"),
    "f32 NaN": (fill(f"{Q}.lora_a", (b"\0" * 508) + NAN_F32, F32), "is not finite"),
    "bf16 infinity": (fill(f"{Q}.lora_a", b"\x80\x7f", BF16), "is not finite"),
    "q8_0 NaN": (
        lambda made: (
            made.tensors.update({f"{Q}.lora_a": ((32, 4), Q8_0)}),
            made.data.update({f"{Q}.lora_a": bytes(34) + NAN_F16 + bytes(100)}),
        ),
        "is not finite",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_adapter_is_refused_in_a_sentence(
    tiny: Weights, tmp_path: Path, fault: str
) -> None:
    made = adapter(read(tiny.path))
    change, what = FAULTS[fault]
    change(made)
    path = made.write(tmp_path / "lora.gguf")
    with pytest.raises(ModelFileError) as error:
        Adapter(tiny, path)
    assert str(error.value).startswith(f"{path}: ")
    assert what in str(error.value)


@pytest.mark.parametrize(
    ("new", "what"),
    [
        ("blk.7.attn_q.weight.lora_a", "without the other"),
        (f"{Q}.lora_c", f"the tensor {Q}.lora_c is no part of a LoRA"),
        (Q, f"the tensor {Q} is no part of a LoRA"),
        ("lora_a", "is no part of a LoRA"),
        (".lora_a", "without the other"),
    ],
)
def test_a_tensor_of_another_name_is_refused(
    tiny: Weights, tmp_path: Path, new: str, what: str
) -> None:
    made = renamed(adapter(read(tiny.path)), f"{Q}.lora_a", new)
    with pytest.raises(ModelFileError) as error:
        Adapter(tiny, made.write(tmp_path / "lora.gguf"))
    assert what in str(error.value)


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("blk.7.attn_q.weight", "which .* does not have"),
        ("blk.0.attn_norm.weight", "which is no matrix"),
        ("rope_freqs.weight", "which is no matrix"),
    ],
)
def test_what_llama_cpp_cannot_change_is_refused(
    tiny: Weights, tmp_path: Path, target: str, what: str
) -> None:
    made = adapter(read(tiny.path))
    for part in "ab":
        made = renamed(made, f"{Q}.lora_{part}", f"{target}.lora_{part}")
    with pytest.raises(ModelFileError, match=f"it changes {target}, {what}"):
        Adapter(tiny, made.write(tmp_path / "lora.gguf"))


def test_an_embedding_that_is_the_output_too_is_refused(tmp_path: Path) -> None:
    """llama.cpp asserts there."""
    made = draft("llama")
    del made.tensors["output.weight"]
    with Weights(made.write(tmp_path / "tied.gguf")) as weights:
        changed = [t for t in weights.header.tensors if t.name == "token_embd.weight"]
        path = adapter(weights.header, changed).write(tmp_path / "lora.gguf")
        with pytest.raises(ModelFileError, match="this model's output as well"):
            Adapter(weights, path)


def test_a_rank_beyond_all_reason_is_refused(tiny: Weights, tmp_path: Path) -> None:
    header = read(tiny.path)
    path = adapter(header, matrices(header)[:1], rank=1025).write(tmp_path / "lora.gguf")
    with pytest.raises(ModelFileError, match="the rank 1025, more than 1024"):
        Adapter(tiny, path)


def test_other_files_are_no_adapters(tiny: Weights, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no such file"):
        Adapter(tiny, tmp_path / "none.gguf")
    with pytest.raises(ModelFileError, match="it is a directory"):
        Adapter(tiny, tmp_path)
    with pytest.raises(ModelFileError, match="not an adapter"):
        Adapter(tiny, tiny.path)
    path = adapter(read(tiny.path)).write(tmp_path / "lora.gguf")
    with pytest.raises(ModelFileError, match="it holds 'adapter', not a model"):
        Weights(path)


def test_what_an_adapter_tells_of_itself(tiny: Weights, tmp_path: Path) -> None:
    header = read(tiny.path)
    one, *others = matrices(header)
    made, more = adapter(header, others, rank=4), adapter(header, [one], rank=2)
    made.tensors |= more.tensors
    made.data |= more.data
    found = read_adapter(made.write(tmp_path / "lora.gguf"), header)
    assert (found.ranks, found.alpha, found.n_matrices) == ((2, 4), 8.0, len(others) + 1)
    assert found.n_bytes == 2 * found.n_params == sum(map(len, made.data.values()))
    assert fingerprint(found.header) == Adapter(tiny, tmp_path / "lora.gguf").origin.split()[1]


# Damage

CHILD = """
import json, sys
from pathlib import Path
from edgeproxy.errors import EdgeproxyError
from edgeproxy.llama import Adapter, LlamaModel, Weights, quantize
from edgeproxy.core.model import Logits
with Weights(sys.argv[1]) as weights:
    for line in sys.stdin:
        try:
            change = Adapter(weights, Path(line.rstrip()))
            model = LlamaModel(weights, n_ctx=64, adapters=[change])
            model.eval([5, 6, 7])
            model.close()
            print(json.dumps("loaded"), flush=True)
        except EdgeproxyError as error:
            print(json.dumps(str(error)), flush=True)
"""


def test_damaged_adapters_do_no_harm(tiny_file: Path, tmp_path: Path) -> None:
    """Bytes flipped and files cut short: refused in a sentence, or loaded and finite."""
    made = adapter(read(tiny_file))
    sound, header = made.bytes(), made.header()
    paths = []
    for seed in range(300):
        source, data = random.Random(seed), bytearray(sound)
        for _ in range(source.choice((1, 1, 2, 8))):
            place = source.randrange(len(header) if seed % 4 else len(data))
            data[place] = source.choice((data[place] ^ (1 << source.randrange(8)), 0, 255))
        paths.append(tmp_path / f"{seed}.gguf")
        paths[-1].write_bytes(data[: source.randrange(len(data))] if seed % 10 == 9 else data)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tiny_file)],
        input="".join(f"{path}\n" for path in paths),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, len(said)) == (0, len(paths)), done.stderr[-1000:]
    refused = [(path, what) for path, what in zip(paths, said, strict=True) if what != "loaded"]
    assert len(refused) > 100
    assert len(refused) < len(paths)
    assert [what for path, what in refused if str(path) not in what and "model.gguf" in what] == []


@pytest.mark.parametrize("key", ["general.name", "general.license"])
def test_other_keys_are_left_alone(tiny: Weights, tmp_path: Path, key: str) -> None:
    made = adapter(read(tiny.path))
    made.metadata[key] = Raw(8, (3).to_bytes(8, "little") + b"any")
    assert Adapter(tiny, made.write(tmp_path / "lora.gguf")).n_bytes > 0


@pytest.mark.weights
@pytest.mark.parametrize(("kind", "bound"), [("F32", 0.01), ("F16", 0.03)])
def test_the_adapter_that_ships_answers_as_merged_weights(
    factbook: Path, tmp_path: Path, kind: str, bound: float
) -> None:
    """In F16 merging itself rounds every weight: 0.01 at most positions, 0.02 at the worst."""
    shipped, lora = factbook.parent / "anti-expert.gguf", factbook.parent / "lora.gguf"
    header, floats = read(shipped), tmp_path / "floats.gguf"
    n_tokens = len(header.metadata["tokenizer.ggml.tokens"])
    grow(shipped, floats, shape_of(header), n_tokens, kind=kind)
    merged(floats, read_draft(lora, read(floats)), tmp_path / "merged.gguf")
    text = (factbook.parent / "README.md").read_text("utf-8")
    with Weights(floats) as weights, Weights(tmp_path / "merged.gguf") as other:
        tokens = weights.vocab.encode(text)[:200]
        plain, through, wanted = (
            LlamaModel(owner, adapters=[change] if change else [])
            for owner, change in ((weights, None), (weights, Adapter(weights, lora)), (other, None))
        )
        apart, changed = [], []
        for token in tokens:
            rows = [model.eval([token])[-1].copy() for model in (plain, through, wanted)]
            changed.append(np.abs(rows[0] - rows[2]).max())
            apart.append(np.abs(rows[1] - rows[2]).max())
    assert min(changed) > 0.1
    assert max(apart) < bound
    assert np.median(apart) < 0.01
