"""Tokens, probabilities and sentences as a person reads them; `page/words.js` says them alike."""

from __future__ import annotations

import math
import re

from edgeproxy.explain.form import Explained, Explanation, Word

_MARKS = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}
_UNSEEN = re.compile(
    "[\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff]"
)


def spoken(word: Word, *, in_text: bool = False) -> str:
    """A token as a word to point at: spaces and line breaks as marks, special ones in brackets.

    With `in_text` the space that a word begins with is left out.
    """
    if word.bytes is not None:
        return f"‹{bytes.fromhex(word.bytes).hex(' ')}›"
    if word.special or not word.text:
        return f"⟨{re.sub(r'^<[|]?|[|]?>$', '', word.text) or 'empty'}⟩"
    text = re.sub(r"^ (?=\S)", "", word.text) if in_text else word.text
    text = "".join(_MARKS.get(character, character) for character in text)
    return _UNSEEN.sub(lambda found: f"‹U+{ord(found[0]):04x}›", text)


def percent(logprob: float) -> str:
    """A probability in percent, from its logarithm."""
    p = 100.0 * math.exp(logprob)
    if p >= 99.95:
        return "100%"
    if p >= 9.95:
        return f"{p:.0f}%"
    return f"{p:.1f}%" if p >= 0.1 else "<0.1%"


def is_masked(explanation: Explanation, token: Explained, of: int) -> bool:
    """Whether the plausibility mask left out `of`, one of the token's known ones."""
    plausibility = explanation.settings.plausibility
    if not plausibility or token.alpha == 0.0:
        return False
    expert = next(known.expert for known in token.known if known.token == of)
    return expert < token.best["expert"][0].logprob + math.log(plausibility)


def sentence(explanation: Explanation, token: Explained) -> str:
    """What the base alone would have said, and what it is with the pair."""
    words = explanation.words

    def quoted(each: int) -> str:
        return f'"{spoken(words[each], in_text=True)}"'

    (base, likely), (fused, now) = token.best["base"][0], token.best["fused"][0]
    if base == fused:
        said = f"The base alone would have said {quoted(base)} too ({percent(likely)}; "
        said += f"with the pair {percent(now)})."
    else:
        said = f"The base alone would have said {quoted(base)} ({percent(likely)}); "
        said += f"with the pair {quoted(fused)} ({percent(now)})."
    if token.id != fused:
        said += f" Drawn was {quoted(token.id)} ({percent(token.logprobs['fused'])})."
    if is_masked(explanation, token, base):
        said += f" The mask left {quoted(base)} out, as the expert finds it implausible."
    if token.brought:
        said += " None of the three alone would have said it."
    return said
