"""Makes a pair's models speak the base's vocabulary, whatever their tokenizers.

| case | test | what an eval costs more |
|---|---|---|
| same | every id has the same bytes and role | nothing |
| padded | the same up to the shorter one, the rest no ordinary text | a slice |
| permuted | the same byte strings under other ids, bar a few | a gather |
| different | anything else | a projection through bytes, and some re-reading |

    relation    which case it is, from token bytes and kinds alone
    mapped      padded and permuted
    projected   different: the row that follows the text, and a closer look at parts of it
    transcript  the text of the base tokens, and the own tokens that spell it
    projection  rows over one vocabulary -> a row over the other
    tables      which own tokens carry a base token's bytes; kept on disk by `cache`
    spelling    bytes -> own tokens, word by word
    firsts      the first token of each of 100,000 words
    reader      brings a model to a list of tokens with little evaluation

The wrapped models take own tokens too, under ids beyond the base's: see `own_tokens`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

import numpy as np

from edgeproxy.align.cache import same_tokenizer, tables_for
from edgeproxy.align.mapped import LACKING, MappedModel
from edgeproxy.align.projected import MAX_PATHS, ProjectedModel
from edgeproxy.align.projection import Projection
from edgeproxy.align.relation import Match, match, match_pair, unspelled
from edgeproxy.align.spelling import Spelling
from edgeproxy.align.transcript import Cost
from edgeproxy.core.cancel import Cancel
from edgeproxy.core.model import Branching, Logits, Model
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import VocabularyError

__all__ = [
    "ALIGNING",
    "LACKING",
    "MAX_PATHS",
    "Aligned",
    "Cost",
    "MappedModel",
    "Match",
    "ProjectedModel",
    "align",
    "check_common",
    "doubts",
    "match",
    "match_pair",
    "own_rows",
    "own_tokens",
    "own_vocab",
    "reads",
]

ALIGNING = "aligning vocabularies"

Progress = Callable[[str, float], None]
"""Called with what is done, `ALIGNING`, and the share of it that is done, 0 to 1."""

Matches = tuple[Match, Match]
Ends = tuple[frozenset[int], frozenset[int]]


class Aligned(NamedTuple):
    """A pair over the base's vocabulary, and the base's ids that end a reply."""

    expert: Model
    anti_expert: Model
    endings: frozenset[int]


def align(
    expert: Model,
    anti_expert: Model,
    base: Vocab,
    matches: Matches | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Aligned:
    """Both models of a pair over the vocabulary of `base`.

    `matches` are how their vocabularies are related to it, if that is known already; where it is
    "different", both models must be able to branch (see `Branching`). A token that one of them
    lacks is kept from both, so that its offset is 0.

    Two vocabularies that meet for the first time take a second or so: `progress` gets what is done
    and which share of it, and `cancel` ends it with `Cancelled`. Raises `VocabularyError` where the
    vocabularies have no text in common, and where they are "different" and a model cannot rewind.
    """
    pair = (expert, anti_expert)
    matches = matches or match_pair(base, expert.vocab, anti_expert.vocab)
    if all(found.case == "same" for found in matches):
        endings = base.end_of_generation | expert.vocab.end_of_generation
        return Aligned(expert, anti_expert, endings)
    ends = _ends(expert.vocab, anti_expert.vocab)
    if any(found.case == "different" for found in matches):
        return _project(pair, base, matches, ends, progress, cancel)
    spoken = (matches[0].index >= 0) & (matches[1].index >= 0)
    indexes = [found.index for found in matches]
    says = [set(index[spoken].tolist()) for index in indexes]
    if all(own <= heard for own, heard in zip(ends, says, strict=True)):
        carried = np.flatnonzero(spoken & np.isin(indexes[0], list(ends[0])))
        ends, endings = (frozenset(), frozenset()), frozenset(carried.tolist())
    else:
        ends, endings = _poolable(ends), frozenset()
    mapped, other = (
        MappedModel(model, base, index, spoken, own)
        for model, index, own in zip(pair, indexes, ends, strict=True)
    )
    return Aligned(mapped, other, base.end_of_generation | endings)


def _project(
    pair: tuple[Model, Model],
    base: Vocab,
    matches: Matches,
    ends: Ends,
    progress: Progress | None,
    cancel: Cancel | None,
) -> Aligned:
    check_common(matches)
    for name, model in zip(("expert", "anti-expert"), pair, strict=True):
        if not model.can_rewind:
            raise VocabularyError(
                f"the {name} is a recurrent model, which cannot go back in its text as a pair with "
                "a vocabulary of its own must; use one with the base's vocabulary"
            )
    own = [model.vocab for model in pair]
    silent: set[int] = set()
    for found, vocab in zip(matches, own, strict=True):
        silent.update(found.silent if found.case == "different" else unspelled(base, vocab))
    heard = None if progress is None else partial(progress, ALIGNING)
    means = [(tables_for(base, own[0], heard, cancel), Spelling(own[0]))]
    # Usually one vocabulary, whose tables and spellings both use.
    alike = own[0] is own[1] or same_tokenizer(*own)
    means.append(means[0] if alike else (tables_for(base, own[1], heard, cancel), Spelling(own[1])))
    projected, other = (
        ProjectedModel(
            cast(Branching, model),
            base,
            Projection.make(tables, base, own_ends, silent),
            spelling,
        )
        for model, (tables, spelling), own_ends in zip(pair, means, _poolable(ends), strict=True)
    )
    return Aligned(projected, other, base.end_of_generation)


def _poolable(ends: Ends) -> Ends:
    """`ends`, or none where one of the two has none: the other's would have a gap's offset."""
    return ends if all(ends) else (frozenset(), frozenset())


def _ends(expert: Vocab, anti_expert: Vocab) -> Ends:
    """The own tokens that end a text, for either: both names of it where they share their ids.

    An untuned model's file often does not name the end of turn that its tuned one writes.
    """
    if match(expert, anti_expert).case in ("same", "padded"):
        both = expert.end_of_generation | anti_expert.end_of_generation
        shared = min(len(expert), len(anti_expert))
        if all(token < shared for token in both):
            return both, both
    return expert.end_of_generation, anti_expert.end_of_generation


def check_common(matches: Matches) -> None:
    """Raise `VocabularyError` for a pair that has nothing to say of the base's tokens."""
    for name, found in zip(("expert", "anti-expert"), matches, strict=True):
        if not found.shared:
            raise VocabularyError(
                f"the base and the {name} have no token of text in common; use other models"
            )


def doubts(base: Vocab, matches: Matches) -> list[str]:
    """What a person should know of an alignment that loses something: a sentence each."""
    found = []
    total = sum(map(bool, base.texts))
    named = list(zip(("expert", "anti-expert"), matches, strict=True))
    if matches[0].silent == matches[1].silent:
        named = [("pair", matches[0])]  # as that of two versions of one small model
    for name, relation in named:
        if relation.unspelled:
            found.append(
                f"the {name} cannot spell {relation.unspelled:,} of the base's {total:,} tokens of "
                "text: there it has no say, and with plausibility above 0 they never come"
            )
    if not base.end_of_generation and any(found.case == "different" for found in matches):
        found.append(
            "the base has no end-of-text token that the pair could end a reply with: replies go on "
            "to their longest length"
        )
    return found


def own_tokens(model: Model, tokens: Sequence[int]) -> Sequence[int]:
    """The ids under which an aligned model's `eval` takes tokens of its own vocabulary."""
    return model.own(tokens) if isinstance(model, MappedModel | ProjectedModel) else tokens


def reads(model: Model, token: int) -> bool:
    """Whether a model that speaks the base's vocabulary has anything to read for one of its tokens.

    An aligned one has nothing for a token that its own ones cannot spell.
    """
    return not isinstance(model, MappedModel | ProjectedModel) or model.reads(token)


def own_vocab(model: Model) -> Vocab:
    """The vocabulary of a model's own tokens; of one that was not aligned it is its only one."""
    return model.model.vocab if isinstance(model, MappedModel | ProjectedModel) else model.vocab


def own_rows(model: Model, rows: Logits) -> Logits:
    """What a model said over its own vocabulary where its last `eval` gave `rows`.

    Of one that was not aligned it is `rows` themselves. Valid as long as they are.
    """
    return model.own_rows if isinstance(model, MappedModel | ProjectedModel) else rows
