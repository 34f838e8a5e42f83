"""What an answer tells of itself: usage in tokens, and edgeproxy's own figures."""

from __future__ import annotations

from typing import Any

from edgeproxy.decode.pieces import FinishReason
from edgeproxy.serve.events import Ended
from edgeproxy.session.turn import Turn, Usage

FINISHED: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "context": "length",
    # OpenAI has no word for a reply that its server cut short; edgeproxy's own says it.
    "cancelled": "length",
}
"""Why a reply ended, in OpenAI's words."""

_DIGITS = 6


def usage(found: Usage) -> dict[str, Any]:
    """The tokens of a request, as chat and completions tell them."""
    return {
        "prompt_tokens": found.prompt,
        "completion_tokens": found.completion,
        "total_tokens": found.prompt + found.completion,
        "prompt_tokens_details": {"cached_tokens": found.kept},
    }


def response_usage(found: Usage) -> dict[str, Any]:
    """The tokens of a request, as responses tell them."""
    return {
        "input_tokens": found.prompt,
        "input_tokens_details": {"cached_tokens": found.kept, "cache_write_tokens": 0},
        "output_tokens": found.completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": found.prompt + found.completion,
    }


def extension(ended: Ended) -> dict[str, Any]:
    """What edgeproxy tells besides, null where there is nothing to tell.

    Why the reply ended, in its own words; seconds; the share of drafted tokens that were drawn; the
    share of tokens that the pair changed; the passages that were read.
    """
    stats = ended.turn.stats
    changed = stats.changed
    return {
        "finish_reason": ended.finish_reason,
        "first_token_seconds": round(stats.first_seconds, _DIGITS),
        "seconds": round(stats.seconds, _DIGITS),
        "tokens_per_second": _rounded(stats.tokens_per_second),
        "acceptance": _rounded(stats.acceptance),
        "changed_share": None if changed is None else _rounded(changed.share),
        "documents": None if ended.turn.read.readers == "nobody" else _documents(ended.turn),
    }


def _documents(turn: Turn) -> dict[str, Any]:
    """What a reply has read, and what of each passage it says.

    `quotation` is the stretch that a part of the reply was taken from, null where none was, and
    `lacks` has the names in the question where such a passage has none of them. Of a document's
    path only its file's name is told.
    """
    sources = {one.passage: one for part in reversed(turn.sources()) for one in part.sources}
    passages = [(found.passage, sources.get(found.passage)) for found in turn.read.found]
    return {
        "read_by": turn.read.readers,
        "passages": [
            {
                "source": passage.path.name,
                "place": passage.place,
                "trail": list(passage.trail),
                "quotation": source.quotation if source else None,
                "lacks": list(source.lacks) if source else [],
            }
            for passage, source in passages
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
