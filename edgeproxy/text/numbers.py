"""Numbers as people of many languages write them.

Read are the digits of every script (12, １２, ١٢, १२), a sign (-3, −3, +3, 负3, minus 3), decimals
and groups (1,234.5, 1.234,5, 1 234,5, 1'234, ١٬٢٣٤٫٥, 12,34,567), fractions (3/4, ½, 2 1/2),
powers of ten (1e6, 3 × 10^6) and words for them right after digits (5 million, 5 Mio., 3万,
1億2千万). A unit, a currency or a percent sign beside a number changes nothing: 50% is 50.

Not read are numbers in words alone (three, 三十, XIV) and sums (2+3); a digit after a letter, as in
CO2, is no number.

1,234 and 1.234 may be a thousand or one and a bit, so they can be read in two ways. Where one value
is needed it is that of English and of programs: a point before decimals, commas between groups.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

from edgeproxy.text.words import MAY_PRECEDE_A_SIGN

_MAX_DIGITS = 60
"""A number of more digits is none: nobody asks for it, and its value would cost time."""

_NEAR = 20
"""How many characters before a word for minus may lie between it and a number."""

_SPACES = "\u00a0\u2009\u202f "
_GROUPED = (
    rf"\d{{1,3}}(?:[{_SPACES}]\d{{3}})+(?:[.,\u066b]\d+)?"
    r"|\d{1,3}(?:['’\u066c]\d{3})+(?:[.,\u066b]\d+)?"
    r"|\d{1,3}(?:,\d{3})+(?:\.\d+)?"
    r"|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?"  # as in India
    r"|\d{1,3}(?:\.\d{3})+(?:,\d+)?"
)
# In 1,2,3 and 12.05.2020 nothing is a decimal.
_DIGITS = rf"(?<!\d[.,])(?:{_GROUPED}|\d+(?:[.,\u066b]\d+)?|(?<![\w.])\.\d+)(?!\d|[.,]\d)|\d+"
_SIGN = rf"(?:(?<![^{MAY_PRECEDE_A_SIGN}])[-\u2212\u2013+])"
_SIGN_WORDS = r"[负負]|マイナス|마이너스\s?|ลบ\s?|(?<!\w)(?:minus|moins|menos|meno|минус|سالب|ऋण)\s"
_CURRENCY = r"[$€£¥₹₽₩]"
_TEN = r"\s?[×x*·]\s?10(?:\^\{?(?P<power>[-\u2212]?\d{1,2})\}?|(?P<raised>⁻?[⁰¹²³⁴-⁹]{1,2}))"
_NUMBER = re.compile(
    rf"(?P<sign>{_SIGN}|{_SIGN_WORDS})?(?:{_CURRENCY}\s?)?(?P<minus>(?<={_CURRENCY})[-\u2212])?"
    r"(?<![A-Za-z\u00c0-\u024f\u0370-\u052f_])"
    r"(?:(?:(?P<whole>\d+)\s)?(?P<part>\d+)[/⁄](?P<of>\d+)(?![\d/⁄])"
    rf"|(?P<digits>{_DIGITS})(?:[eE](?P<exponent>[+-]?\d{{1,2}})(?!\w)|{_TEN})?)",
    re.IGNORECASE,
)
_AMBIGUOUS = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")

_SCALES = {
    12: "trillions?|billionen|bill[oó]n(?:es)?|триллион(?:а|ов)?|трлн",
    9: "billions?|bn|milliarden?|mrd|milliards?|mil millones|миллиард(?:а|ов)?|млрд|مليار",
    7: "crores?|करोड़",
    6: "millions?|millionen|mio|mill[oó]n(?:es)?|milh(?:ão|ões)|milion[ei]|миллион(?:а|ов)?|млн"
    "|مليون|ملايين|ล้าน",
    5: "lakhs?|लाख",
    3: "thousand|tausend|mil(?:le)?|тысяч[аи]?|тыс|ألف|آلاف|हज़ार",
}
"""Powers of ten in words; longer ones stand before those that they begin with."""

_SCALE = re.compile(
    r"[\s-]?(?:" + "|".join(f"(?P<ten{n}>{said})" for n, said in _SCALES.items()) + r")(?!\w)",
    re.IGNORECASE,
)
_UNITS = (
    {"千": 10**3, "천": 10**3} | dict.fromkeys("万萬만", 10**4) | dict.fromkeys("億亿억", 10**8)
)
_JOINS = {unit: ("", " ") if unit in "천만억" else ("",) for unit in _UNITS}
"""What may stand between two parts of a number: 1億2千万, 5만 3천."""
_UNIT = re.compile(rf"(?:(?!千[克米瓦卡])[{''.join(_UNITS)}])+")
_LATEX = (
    (re.compile(r"(?<=\d)\\[dt]?frac\{(\d+)\}\{(\d+)\}"), r" \1/\2"),
    (re.compile(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}"), r"\1/\2"),
    (re.compile(r"(?<=\d)(?:\{,\}|\\,)(?=\d)"), "\u202f"),
    (re.compile(r"\\(?=[$%])"), ""),
)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


class Number(NamedTuple):
    """A number in a text: its value, and the other one where it can be read in two ways."""

    value: Fraction
    otherwise: Fraction | None = None

    def can_be(self, value: Fraction) -> bool:
        """Whether it can be read as `value`."""
        return value in (self.value, self.otherwise)


class PlacedNumber(NamedTuple):
    """A number and where it stands: `start` to `end` in the text, its unit not included.

    `step` is the value of the last digit that is written: 0.1 in 3.5, 100,000 in "3.5 million".
    """

    start: int
    end: int
    number: Number
    step: Fraction


def numbers(text: str) -> list[Number]:
    """The numbers of `text`, in order."""
    plain = "".join(_plain(text))
    for pattern, written in _LATEX:
        plain = pattern.sub(written, plain)
    return [found.number for found in _found(plain)]


def placed_numbers(text: str) -> list[PlacedNumber]:
    """The numbers of `text` as `numbers` finds them, with their places; LaTeX is not read."""
    pieces = _plain(text)
    found = _found("".join(pieces))
    if all(len(piece) == 1 for piece in pieces):
        return found
    origins = [at for at, piece in enumerate(pieces) for _ in piece]
    return [one._replace(start=origins[one.start], end=origins[one.end - 1] + 1) for one in found]


def _found(text: str) -> list[PlacedNumber]:
    found: list[PlacedNumber] = []
    at = joins = 0  # joins: where a part of the last number has ended that may go on, as 1億2千万
    while match := _NUMBER.search(text, at):
        at = match.end()
        number = _number(match, text)
        if number is None:
            continue
        scale, at = _scale(text, at)
        number = Number(*(None if v is None else v * scale for v in number))  # type: ignore[arg-type]
        start = match.start()
        if found and joins >= 0 and text[joins:start] in _JOINS[text[joins - 1]]:
            start, _, (last, _), _ = found.pop()
            number = Number(last + (number.value if last >= 0 else -number.value))
        found.append(PlacedNumber(start, at, number, _step(match) * scale))
        joins = at if text[at - 1] in _UNITS else -1
    return found


def _step(match: re.Match[str]) -> Fraction:
    if match["part"]:
        return Fraction(1, max(1, int(match["of"])))
    decimals = _with_point(match["digits"]).partition(".")[2]
    return Fraction(1, 10 ** len(decimals)) * _power(match)


def _number(match: re.Match[str], text: str) -> Number | None:
    if sum(map(str.isdigit, match[0])) > _MAX_DIGITS:
        return None
    readings = _fraction(match) if match["part"] else _decimal(match)
    if match["minus"] or _is_minus(match, text):
        readings = [-value for value in readings]
    return Number(*readings) if readings else None


def _is_minus(match: re.Match[str], text: str) -> bool:
    sign = match["sign"]
    if not sign or sign == "+":
        return False
    # In "10 minus 3" the word is no sign.
    before = text[max(0, match.start() - _NEAR) : match.start()]
    return len(sign) == 1 or not before.rstrip()[-1:].isdigit()


def _fraction(match: re.Match[str]) -> list[Fraction]:
    below = int(match["of"])
    return [int(match["whole"] or 0) + Fraction(int(match["part"]), below)] if below else []


def _decimal(match: re.Match[str]) -> list[Fraction]:
    scale = _power(match)
    digits = match["digits"]
    if _AMBIGUOUS.fullmatch(digits):
        values = [digits.replace(",", ""), digits.translate({ord("."): None, ord(","): "."})]
        return [Fraction(value) * scale for value in values]
    return [Fraction(_with_point(digits)) * scale]


def _power(match: re.Match[str]) -> Fraction:
    power = match["exponent"] or match["power"] or (match["raised"] or "0").translate(_RAISED)
    return Fraction(10) ** int(power.replace("\u2212", "-"))


def _with_point(digits: str) -> str:
    """A number without anything between its groups, and with a point before its decimals."""
    digits = re.sub(rf"[{_SPACES}'’\u066c]", "", digits).replace("\u066b", ".")
    commas, points = digits.count(","), digits.count(".")
    if commas and points:
        decimal = max(",.", key=digits.rfind)
        grouping = "," if decimal == "." else "."
        return digits.replace(grouping, "").replace(decimal, ".")
    if commas > 1 or points > 1:
        return digits.replace(",", "").replace(".", "")
    return digits.replace(",", ".")


def _scale(text: str, at: int) -> tuple[int, int]:
    """What the words for powers of ten at `at` multiply by, and where they end."""
    if found := _UNIT.match(text, at):
        scale = 1
        for unit in found[0]:
            scale *= _UNITS[unit]
        return scale, found.end()
    if found := _SCALE.match(text, at):
        return 10 ** int((found.lastgroup or "ten0").removeprefix("ten")), found.end()
    return 1, at


def _plain(text: str) -> list[str]:
    """For each character of `text`: ASCII's digits, signs and separators where it is their like."""
    if text.isascii():
        return list(text)
    kept: list[str] = []
    for c in text:
        if c.isdecimal():
            kept.append(str(unicodedata.decimal(c)))
        elif "\uff01" <= c <= "\uff5e":  # as wide as a Chinese character
            kept.append(chr(ord(c) - 0xFEE0))
        elif unicodedata.decomposition(c).startswith("<fraction>"):
            before = " " if kept and kept[-1][-1:].isdigit() else ""
            kept.append(before + unicodedata.normalize("NFKD", c))
        else:
            kept.append(c)
    return kept
