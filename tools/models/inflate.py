"""Grow a trained trio to the cost of a large one that computes the same logits, to measure speed.

    python -m tools.models.inflate TRIO OUT [--base-size 1.1B] [--pair-size 135M] [--tokens 32000]
                                     [--type Q4_0] [--threads N]

Speed at real size depends on how often a draft is accepted, and only trained models tell. A size
is a preset or six numbers. Each model is first written in floats, and its logits are compared with
the small one's; then both are quantised, and compared again. Any trio of llama architecture will
do, in F32, F16, BF16 or Q8_0 files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgeproxy.cli.ui.output import say
from edgeproxy.cli.ui.progress import Working
from edgeproxy.core.model import Logits
from edgeproxy.errors import UsageError
from edgeproxy.gguf import read
from edgeproxy.llama import MAX_ROWS, LlamaModel, Weights, quantize
from edgeproxy.trios.find import Recipe, Role, find_recipe
from tools.command import at_least, make_parser, run
from tools.models.grow import FAR_BELOW, Shape, grow, shape_of

SHAPES = {
    "135M": Shape(layers=18, width=768, ffn=2048, heads=12, kv_heads=4, head=64),
    "360M": Shape(layers=28, width=1024, ffn=2816, heads=16, kv_heads=4, head=64),
    "1.1B": Shape(layers=22, width=2048, ffn=5632, heads=32, kv_heads=4, head=64),
    "3B": Shape(layers=28, width=3072, ffn=8192, heads=24, kv_heads=8, head=128),
    "8B": Shape(layers=32, width=4096, ffn=14336, heads=32, kv_heads=8, head=128),
}
"""By about how many weights a token is multiplied by; widths of 256n, so that K-quants fit.

From 1.1B on TinyLlama's and Llama 3's; SmolLM's have fewer key heads than a small model may have.
"""

BOUND = 0.1
"""How far the logits of floats may be apart: rounding to 16 bits makes about 0.02 of it."""

PROMPT = "The capital of France is"
_TEXT_TOKENS = 128
_FLOATS = ("F16", "F32")
_BYTES = {"F32": 4.0, "F16": 2.0}
_BASE_FAR_BELOW = 100 * FAR_BELOW  # more than the anti-expert, which is subtracted, can make up for


class Range(NamedTuple):
    """The smallest and the largest of some logits."""

    low: float
    high: float


@dataclass(frozen=True)
class Agreement:
    """A grown model beside the small one, on what the small one writes.

    `difference` is the largest of any logit in floats, after a constant for each row; the shares
    are of positions where the two agree on the best token, once both are quantised, and where the
    quantised large one agrees with the file that it was made of. `real` and `padding` are the
    logits of tokens that the small model has, and has not.
    """

    difference: float
    same_best: float
    same_best_as_source: float
    real: Range
    padding: Range | None


def parse_shape(text: str) -> Shape:
    """A preset, or numbers with `x` between. Raises `ValueError` for anything else."""
    if text in SHAPES:
        return SHAPES[text]
    numbers = text.split("x")
    if len(numbers) != len(Shape._fields) or not all(map(str.isdecimal, numbers)):
        raise ValueError(f"{text!r} is none of {', '.join(SHAPES)} and not six numbers with x")
    return Shape(*map(int, numbers))


def inflate(
    recipe: Recipe,
    out: Path,
    base: Shape,
    pair: Shape,
    *,
    n_tokens: int | None = None,
    kind: str = "Q4_0",
    n_threads: int = 1,
) -> dict[str, Agreement]:
    """Write a grown trio and its manifest into the folder `out`; how the models agree, by role.

    Raises `ValueError` for impossible sizes and where the disk is too small, `RuntimeError` where
    the logits are not the same; the folder then has no manifest.
    """
    shapes = {"base": base, "expert": pair, "anti_expert": pair}
    out.mkdir(parents=True, exist_ok=True)
    (out / "trio.toml").unlink(missing_ok=True)
    sizes = {
        role: n_tokens or len(read(recipe.roles[role].path).metadata["tokenizer.ggml.tokens"])
        for role in shapes
    }
    _check_disk(out, [shape.parameters(sizes[role]) for role, shape in shapes.items()], kind)
    found: dict[str, Agreement] = {}
    for role, shape in shapes.items():
        target = out / f"{role.replace('_', '-')}.gguf"
        found[role] = _inflate_one(
            recipe.roles[role].path, target, shape, sizes[role], kind, role == "base", n_threads
        )
    _check_padding(found)
    _write_manifest(recipe, out)
    return found


def _inflate_one(
    source: Path, target: Path, shape: Shape, n_tokens: int, kind: str, is_base: bool, threads: int
) -> Agreement:
    exact = kind if kind in _FLOATS else "F16"
    far_below = _BASE_FAR_BELOW if is_base else FAR_BELOW
    header = read(source)
    own, n_old = shape_of(header), len(header.metadata["tokenizer.ggml.tokens"])
    millions = shape.parameters(n_tokens, "output.weight" not in {t.name for t in header.tensors})
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        small = grow(source, Path(scratch) / "small.gguf", own, n_old, kind=exact)
        large = Path(scratch) / target.name
        say(f"{target.name}: {millions / 1e6:,.0f} M parameters as {exact}")
        grow(source, large, shape, n_tokens, kind=exact, far_below=far_below)
        say(f"{target.name}: {large.stat().st_size / 1e6:,.0f} MB, comparing the logits")
        tokens = _said(small, _TEXT_TOKENS, threads)
        before, after = (_logits(path, tokens, threads) for path in (small, large))
        error = after[:, :n_old] - before
        error -= error.mean(axis=1, keepdims=True)
        difference = float(np.abs(error).max())
        if not difference <= BOUND:
            raise RuntimeError(f"{target.name}: its logits differ by {difference:.3g}")
        if kind != exact:
            say(f"{target.name}: differing by up to {difference:.2g}; quantising to {kind}")
            small = _quantized(small, kind)
            large = _quantized(large, kind)
            before, after = (_logits(path, tokens, threads) for path in (small, large))
        large.replace(target)
    best, known = after.argmax(axis=1), after[:, :n_old]
    agreement = Agreement(
        difference=difference,
        same_best=float((best == before.argmax(axis=1)).mean()),
        same_best_as_source=float((best == _logits(source, tokens, threads).argmax(axis=1)).mean()),
        real=_range(known),
        padding=_range(after[:, n_old:]) if n_tokens > n_old else None,
    )
    seconds = time.perf_counter() - started
    say(f"{target.name}: {target.stat().st_size / 1e6:,.0f} MB in {seconds:.0f} s")
    return agreement


def _quantized(path: Path, kind: str) -> Path:
    """A quantised copy, in the place of the file."""
    part = path.with_suffix(".part")
    quantize(path, part, kind)
    part.replace(path)
    return path


def _said(path: Path, n: int, threads: int) -> list[int]:
    """What a model writes greedily: there it is sure of itself, as in use, and ties are rare."""
    with Weights(path) as weights, closing(_model(weights, n, threads)) as model:
        vocab = weights.vocab
        opening = [vocab.bos] if vocab.add_bos and vocab.bos is not None else []
        tokens = (opening + vocab.encode(PROMPT, first=True))[:n]
        best = int(model.eval(tokens)[-1].argmax())
        while len(tokens) < n:
            tokens.append(best)
            best = int(model.eval([best])[-1].argmax())
    return tokens


def _logits(path: Path, tokens: Sequence[int], threads: int) -> Logits:
    with Weights(path) as weights, closing(_model(weights, len(tokens), threads)) as model:
        parts = [tokens[n : n + MAX_ROWS] for n in range(0, len(tokens), MAX_ROWS)]
        return np.concatenate([model.eval(part, rows=len(part)).copy() for part in parts])


def _model(weights: Weights, n: int, threads: int) -> LlamaModel:
    return LlamaModel(weights, n_ctx=n, n_threads=threads)


def _range(logits: Logits) -> Range:
    return Range(float(logits.min()), float(logits.max()))


def _check_disk(out: Path, parameters: Sequence[int], kind: str) -> None:
    """All three as they stay, and the largest in floats beside its quantised copy."""
    each = 1.1 if kind not in _FLOATS else _BYTES[kind]  # bytes; Q8_0 is the largest of the others
    needed = int(sum(parameters) * each + max(parameters) * _BYTES.get(kind, 2.0))
    free = shutil.disk_usage(out).free
    say(f"up to {needed / 1e9:.1f} GB of disk is needed, {free / 1e9:.1f} GB is free")
    if needed > free:
        raise ValueError(f"{out}: {needed / 1e9:.1f} GB is needed, {free / 1e9:.1f} GB is free")


def _check_padding(found: dict[str, Agreement]) -> None:
    """New tokens stay below all others, in each model and in any sum that the trio makes."""
    base, expert, anti = (found[role] for role in ("base", "expert", "anti_expert"))
    for role, one in found.items():
        if one.padding and not one.padding.high < one.real.low:
            raise RuntimeError(f"{role}: a new token's logit of {one.padding.high:.3g} may win")
    if base.padding and expert.padding and anti.padding:
        highest = base.padding.high + expert.padding.high - anti.padding.low
        if not highest < base.real.low + expert.real.low - anti.real.high:
            raise RuntimeError(f"a new token's fused logit of up to {highest:.3g} may win")


def _write_manifest(recipe: Recipe, out: Path) -> None:
    lines = [
        f"name = {_quoted(recipe.name + '-inflated')}",
        f"description = {_quoted(f'The trio {recipe.name}, grown: the same answers, later.')}",
        f"licence = {_quoted(recipe.licence)}",
        f"alpha = {recipe.steering.alpha}",
        f"base_weight = {recipe.steering.base_weight}",
        f"plausibility = {recipe.steering.plausibility}",
        f"temperature = {recipe.temperature}",
    ]
    for role, old in recipe.roles.items():
        lines += ["", f"[{role}]", *_role(out / f"{role.replace('_', '-')}.gguf", old)]
    (out / "trio.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _role(path: Path, old: Role) -> list[str]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return [
        f'file = "{path.name}"',
        f"size = {path.stat().st_size}",
        f'sha256 = "{digest.hexdigest()}"',
        f"prompt = {_quoted(old.prompt)}",
    ]


def _quoted(text: str) -> str:
    """A TOML string: JSON's are among them."""
    return json.dumps(text, ensure_ascii=False)


def main() -> int:
    """Inflate a trio, as the command line asks; the exit code."""
    parser = make_parser("tools.models.inflate", __doc__)
    parser.add_argument("trio", help="a trio's name, or the path of its manifest or folder")
    parser.add_argument("out", type=Path, help="the folder to write")
    sizes = f"{', '.join(SHAPES)}, or {'x'.join(Shape._fields).upper()}"
    parser.add_argument("--base-size", default="1.1B", metavar="SIZE", help=sizes)
    parser.add_argument("--pair-size", default="135M", metavar="SIZE")
    parser.add_argument("--tokens", type=at_least(1), help="of a vocabulary grown by unused ones")
    parser.add_argument("--type", default="Q4_0", help="F32, F16, or what llama.cpp quantises to")
    parser.add_argument("--threads", type=at_least(1), default=1, help="for comparing [default: 1]")
    return run(parser, _inflate_asked, "\n".join)


def _inflate_asked(asked: argparse.Namespace, working: Working) -> list[str]:
    try:
        found = inflate(
            find_recipe(asked.trio),
            asked.out,
            parse_shape(asked.base_size),
            parse_shape(asked.pair_size),
            n_tokens=asked.tokens,
            kind=asked.type.upper(),
            n_threads=asked.threads,
        )
    except (ValueError, RuntimeError) as error:
        raise UsageError(str(error)) from None
    lines = []
    for role, one in found.items():
        padding = f", padding at most {one.padding.high:,.0f}" if one.padding else ""
        lines.append(
            f"{role}: logits in floats within {one.difference:.3f}; as {asked.type} the same best "
            f"token as the small model at {one.same_best:.1%} of positions, as its own file at "
            f"{one.same_best_as_source:.1%}{padding}"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
