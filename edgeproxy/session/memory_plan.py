"""How much memory a trio takes, told from the headers of its files before any weights are read.

Every part has a formula in the models' own hyper-parameters: see `llama.footprint` and `llama.kv`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from edgeproxy.align import MAX_PATHS
from edgeproxy.core.memory_free import Free
from edgeproxy.core.vocab import Vocab, from_header
from edgeproxy.decode.draft_length import LONGEST
from edgeproxy.errors import OutOfMemoryError, UsageError
from edgeproxy.gguf import Header, read
from edgeproxy.llama import (
    KvType,
    Unloaded,
    compute_bytes,
    context_length,
    kv_bytes,
    kv_type_for,
    padded,
    vocabulary_bytes,
    weights_bytes,
)
from edgeproxy.trios.manifest import Role
from edgeproxy.units import in_units

BAR = 1.05
"""A process should hold at most so many times what was estimated."""

PROCESS = 58_000_000
"""Bytes of a process that has answered: Python, NumPy, llama.cpp and this package."""

_CONTEXT = 1_500_000  # the records of a context's graph, its batches
_TABLE = 390  # bytes a token, while tables are worked out for the first time; a quarter later
_FLOAT = 4
_LEAST_CONTEXT = 512


@dataclass(frozen=True)
class Estimate:
    """Bytes by part.

    - `weights`: of each file once, of each adapter, and of the documents' embedding model.
    - `kv`: the three KV caches, full.
    - `compute`: intermediate results of llama.cpp's, at a full context.
    - `rows`: rows of logits: llama.cpp's, copies of them, fused ones.
    - `vocabularies`: of each file, llama.cpp's and ours.
    - `shelf`: states of other conversations, at most.
    - `alignment`: tables between a pair's tokens and the base's, where they differ.
    - `process`: what a process takes without any models.
    """

    weights: int
    kv: int
    compute: int
    rows: int
    vocabularies: int
    alignment: int
    process: int = PROCESS
    shelf: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def another(self) -> int:
        """What another conversation at the same time takes, in contexts over the same weights."""
        return self.kv + self.compute + self.rows + self.alignment

    @property
    def more(self) -> int:
        """What loading adds to a process."""
        return self.total - self.process


@dataclass(frozen=True)
class Part:
    """What must be known of one file: its header, its vocabulary, and how many merges it has."""

    header: Header
    vocab: Vocab
    n_merges: int

    @classmethod
    def of(cls, unloaded: Unloaded) -> Part:
        """The part that a file which was opened and checked will be."""
        return cls(unloaded.header, unloaded.vocab, unloaded.n_merges)

    @classmethod
    def read(cls, path: Path, vocab_only: bool = False) -> Part:
        """The part that the file at `path` will be, or its vocabulary. Raises `ModelFileError`."""
        header = read(path, vocab_only=vocab_only)
        merges = header.metadata.get("tokenizer.ggml.merges", ())
        return cls(header.without_tokenizer_lists(), from_header(header), len(merges))


class _Context(NamedTuple):
    """Bytes of one context, as in `Estimate`."""

    kv: int
    compute: int
    rows: int


@dataclass(frozen=True)
class Plan:
    """A trio, or one model alone, as it is to be loaded: parts by role, and what takes memory.

    `n_ctx` is in tokens; without it each model has its own. Where two roles are of one file, both
    have the same part. `adapters` are the bytes of all LoRA adapters, `embedding` those of the
    documents' embedding model. `alone` are the models that will answer alone too, each in a context
    of its own. A base `elsewhere` is on a server: its part is a tokenizer's. `shelf` are the bytes
    in which what was read of other conversations is kept.
    """

    parts: Mapping[str, Part]
    n_ctx: int | None = None
    kv_type: KvType = "f16"
    drafts: bool = True
    adapters: int = 0
    alone: Mapping[str, Part] = field(default_factory=lambda: MappingProxyType({}))
    embedding: int = 0
    elsewhere: bool = False
    shelf: int = 0

    @property
    def here(self) -> Mapping[str, Part]:
        """The parts whose models are on this machine."""
        return {r: part for r, part in self.parts.items() if not (self.elsewhere and r == "base")}

    def context(self, part: Part) -> int:
        """How many tokens the context of `part` holds."""
        key = f"{part.header.architecture}.context_length"
        return context_length(part.header.integer(key), self.n_ctx)

    @property
    def _is_trio(self) -> bool:
        return len(self.parts) == 3

    @property
    def _is_projected(self) -> bool:
        """Whether the pair has tokens of its own. Where they are the base's in another order too,
        which is cheaper: to be sure would take longer.
        """
        if not self._is_trio:
            return False
        base = self.parts["base"].vocab.tokens
        others = (self.parts[role].vocab.tokens for role in ("expert", "anti_expert"))
        return any(own[: len(base)] != base[: len(own)] for own in others)

    def estimate(self) -> Estimate:
        """The bytes of each part. Raises `UsageError` where a model cannot have this KV type."""
        parts = (*self.parts.values(), *self.alone.values())
        distinct = {part.header.path: part for part in parts}.values()
        here = {p.header.path: p for p in (*self.here.values(), *self.alone.values())}.values()
        projected = self._is_projected
        # Drafts are half as long as they may be; a pair with its own tokens looks along paths.
        drafted = 1 + (LONGEST // 2 if self.drafts and not projected else 0)
        kv = compute = rows = 0
        for role, part in self.here.items():
            branches = MAX_PATHS if projected and role != "base" else 0
            n_rows = 1 + MAX_PATHS if branches else 1 if role == "expert" else drafted
            found = self._context_bytes(part, n_rows, branches)
            kv, compute, rows = kv + found.kv, compute + found.compute, rows + found.rows
        for found in map(self._context_bytes, self.alone.values()):
            kv, compute, rows = kv + found.kv, compute + found.compute, rows + found.rows
        if self._is_trio:
            # The expert's as it ran ahead, stacked, those before them, and fused; some of one row.
            rows += (4 * drafted + 4) * len(self.parts["base"].vocab) * _FLOAT
        return Estimate(
            weights=sum(weights_bytes(part.header) for part in here)
            + self.adapters
            + self.embedding,
            kv=kv,
            compute=compute,
            rows=rows,
            vocabularies=sum(_vocabulary(part) for part in distinct),
            alignment=self._alignment() if projected else 0,
            shelf=self.shelf,
        )

    def _context_bytes(self, part: Part, n_rows: int = 1, branches: int = 0) -> _Context:
        kind, n_ctx = kv_type_for(part.header, self.kv_type), self.context(part)
        n_vocab = len(part.vocab)
        return _Context(
            kv_bytes(part.header, padded(n_ctx), kind),
            _CONTEXT + compute_bytes(part.header, n_ctx, kind, n_vocab, n_rows, branches),
            2 * n_rows * n_vocab * _FLOAT,  # llama.cpp's and a copy
        )

    def check_alone(
        self, name: str, part: Part, is_held: bool, free: Free | None, adapters: int = 0
    ) -> None:
        """Raise `OutOfMemoryError` where one model more, alone in a context, does not fit.

        `is_held` says that its weights are in memory already; its `adapters` take so many bytes.
        """
        needed = sum(self._context_bytes(part)) + adapters
        if not is_held:
            needed += weights_bytes(part.header) + _vocabulary(part)
        if free is None or needed <= free.bytes:
            return
        raise OutOfMemoryError(
            f"the {name.replace('_', '-')} alone takes {in_units(needed)} more memory and "
            f"{free.limit} {in_units(free.bytes)}: take a smaller context (--ctx), or close other "
            "programs, or try it anyway (--force)"
        )

    def doubts(self) -> list[str]:
        """A sentence for each model whose context is longer than what it was trained with."""
        found = []
        for role, part in self.here.items():
            trained = part.header.integer(f"{part.header.architecture}.context_length")
            if self.context(part) > trained:
                found.append(
                    f"the {role.replace('_', '-')} was trained with {trained:,} tokens, and the "
                    f"context has {self.context(part):,}: what goes beyond may be worse"
                )
        return found

    def _alignment(self) -> int:
        """Tables and spellings by both vocabularies, once where the pair has the same one."""
        base = self.parts["base"].vocab
        pair = {self.parts[role].vocab.tokens for role in ("expert", "anti_expert")}
        return sum(_TABLE * (len(base) + len(own)) for own in pair)

    def check(self, free: Free | None) -> None:
        """Raise `OutOfMemoryError`, saying what would fit, where there is less free than it takes.

        What is not known is no reason to refuse.
        """
        estimate = self.estimate()
        if free is None or estimate.more <= free.bytes:
            return
        parts = [
            f"{in_units(estimate.weights)} of weights",
            f"{in_units(estimate.kv)} of KV caches",
        ]
        parts += [f"{in_units(self.shelf)} for other conversations"] if self.shelf else []
        who = "this trio and its models alone take" if self.alone else "this trio takes"
        raise OutOfMemoryError(
            f"{who} {in_units(estimate.more)} more memory ({', '.join(parts)}) and "
            f"{free.limit} {in_units(free.bytes)}: {self._remedies(free.bytes, estimate)}"
        )

    def _remedies(self, free: int, estimate: Estimate) -> str:
        found = []
        if 0 <= (room := free - (estimate.more - self.shelf)) < self.shelf:
            found.append(f"give other conversations {in_units(room)} or less (shelf)")
        context = max(map(self.context, self.here.values()))
        if fitting := self._largest_context(free, context):
            found.append(f"take a context of {fitting:,} tokens (--ctx {fitting})")
        if self.kv_type != "q8_0":
            smaller = replace(self, kv_type="q8_0")
            try:
                if smaller.estimate().more <= free:
                    found.append("keep the text that was read in q8_0 (--kv q8_0)")
                elif not fitting and (fitting := smaller._largest_context(free, context)):
                    found.append(
                        f"take a context of {fitting:,} tokens in q8_0 (--ctx {fitting} --kv q8_0)"
                    )
            except UsageError:
                pass  # this model cannot have it
        room = estimate.weights - (estimate.more - free)
        if room > 0:
            found.append(
                f"use files of another quantisation, of {in_units(room)} or less instead of "
                f"{in_units(estimate.weights)}"
            )
        else:
            found.append("use smaller models")
        return f"{', or '.join(found)}; or close other programs, or try it anyway (--force)"

    def _largest_context(self, free: int, below: int) -> int | None:
        """The largest context in 256s that fits and is shorter than `below` tokens."""
        low, high = 1, math.ceil(below / 256) - 1

        def fits(n: int) -> bool:
            return replace(self, n_ctx=256 * n).estimate().more <= free

        if high < 2 or not fits(2):
            return None
        low = 2
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle) else (low, middle - 1)
        return 256 * low


def adapter_bytes(roles: Iterable[Role]) -> int:
    """What the adapters of `roles` take, each once; of one whose file is missing, nothing."""
    total = 0
    for lora in {(role.path, lora): lora for role in roles for lora in role.applied}.values():
        with contextlib.suppress(OSError):
            total += lora.path.stat().st_size
    return total


def _vocabulary(part: Part) -> int:
    tokens = part.vocab.tokens
    return vocabulary_bytes(len(tokens), sum(map(len, tokens)), part.n_merges)
