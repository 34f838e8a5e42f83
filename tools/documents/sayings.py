"""Whether a reply says that what was asked for is not there, in English or by null in JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgeproxy.measure.judging.json_fields import first_object

_NOT = r"(?:does|do|did|is|are|was|were|has|have|can|could|will|would)(?: not|n't|n’t)|cannot|can't"
_SAYS = (
    r"(?:say|state|mention|contain|provide|include|specify|give|tell|list|indicate|have|answer|"
    r"name|know|find|determine|appear|offer|reveal|disclose|address|cover|identify)"
)
_GIVEN = (
    r"(?:said|stated|mentioned|contained|provided|included|specified|given|told|listed|indicated|"
    r"found|available|known|there|present|named|answered|determined|possible|clear|identified)"
)
_THING = r"(?:information|mention|data|answer|record|details?|value|such|documents?|passages?)"
_SAYINGS = (
    rf"\b(?:{_NOT})\s+(?:\w+\s+){{0,2}}?{_SAYS}\b",
    rf"\b(?:(?:{_NOT})|not|nowhere|never)\s+(?:\w+\s+){{0,2}}?{_GIVEN}\b",
    r"\bnot (?:in|within|among|stated by|part of) (?:the|these|those|any|your) "
    r"(?:\w+ )?(?:documents?|passages?|texts?|context|sources?)",
    rf"\b(?:no|without(?: any)?|lacks?(?: any)?|insufficient|not enough)"
    rf" (?:\w+ ){{0,2}}?{_THING}\b",
    r"\bnone of (?:the|these|those) (?:\w+ )?(?:documents?|passages?|texts?|sources?)",
    r"\b(?:unknown|unspecified|unavailable|undetermined|not specified|missing)\b",
    r"\b(?:i am|i'm|i’m) (?:not sure|unsure|unable)",
    r"\bunable to\b",
)
_SAYING = re.compile("|".join(f"(?:{one})" for one in _SAYINGS), re.IGNORECASE)
_VALUE = re.compile(r"\W*(?:n/?a|none|null|nil|nothing|unknown|not available|-+|\?+)?\W*\Z", re.I)
"""What a value alone is that says nothing is known, an empty one included."""


def says_missing(reply: str) -> bool:
    """Whether `reply` says that it is not there: a value of its JSON object, or its words."""
    found = first_object(reply)
    if found is not None:
        return any(_is_missing(value) for value in _values(found))
    return bool(_SAYING.search(reply)) or _is_short_no(reply)


def _is_missing(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, str) and (bool(_VALUE.match(value)) or bool(_SAYING.search(value)))


def _is_short_no(reply: str) -> bool:
    """Whether the whole reply is such a value; an empty reply says nothing at all."""
    return bool(re.search(r"[\w?-]", reply)) and bool(_VALUE.match(reply.strip()))


def _values(value: object) -> Iterator[object]:
    """The values of an object, those inside of it included."""
    if isinstance(value, dict):
        for one in value.values():
            yield from _values(one)
    elif isinstance(value, list):
        for one in value:
            yield from _values(one)
    else:
        yield value
