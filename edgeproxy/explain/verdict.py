"""What the figures of a whole reply mean, in words.

The share of tokens whose likeliest choice a pair changes: proxy-tuning's authors saw 13 to 25% (Liu
et al., 2024, arXiv 2401.08565), and above about 20% BlendIn (2026, arXiv 2606.11201) found that
failures follow.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeproxy.explain.form import Explained, Summary

USUAL = (0.13, 0.25)
WARNING = 0.20

FEW = 20
"""The share of fewer tokens says little."""


def summary_of(tokens: Sequence[Explained]) -> Summary:
    """The figures of a reply of these tokens."""
    count = len(tokens)
    changed = sum(token.changed for token in tokens)
    brought = sum(token.brought for token in tokens)
    guessed = sum(token.guessed for token in tokens)
    return Summary(
        tokens=count,
        changed=changed,
        changed_share=changed / count if count else None,
        brought=brought,
        drafted=sum(token.drafted for token in tokens),
        guessed=guessed,
        moved=sum(token.moved for token in tokens) / count if count else None,
        kl=sum(token.kl for token in tokens) / count if count else None,
        usual_share=USUAL,
        warning_share=WARNING,
        said=tuple(_sentences(count, changed, brought, guessed)),
    )


def _sentences(count: int, changed: int, brought: int, guessed: int) -> list[str]:
    if not count:
        return ["Nothing was said, so there is nothing to explain."]
    said = [
        f"The pair changed {changed:,} of {_tokens(count)} ({changed / count:.0%}): "
        f"{_meaning(changed / count, count)}."
    ]
    if brought:
        were = "was" if brought == 1 else "were"
        said.append(f"{_tokens(brought)} {were} the first choice of none of the three alone.")
    if guessed:
        said.append(
            f"Of {_tokens(guessed)} the base's server told a part of the row only; how far they "
            "moved is an estimate, with the rest taken from the anti-expert."
        )
    return said


def _meaning(share: float, count: int) -> str:
    if count < FEW:
        return "of so few tokens that says little; 13 to 25% is usual over longer replies"
    if share < USUAL[0]:
        return "less than the usual 13 to 25%, it steers little here"
    if share <= WARNING:
        return "13 to 25% is usual"
    if share <= USUAL[1]:
        return "13 to 25% is usual, and from 20% on the pair may replace the base, not steer it"
    return "more than the usual 13 to 25%, so the pair replaces the base rather than steers it"


def _tokens(count: int) -> str:
    return f"{count:,} token" + ("" if count == 1 else "s")
