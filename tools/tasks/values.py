"""The values of the task "facts": short, unambiguous, with the other texts that are as right.

Each function takes an entry of the Factbook and returns accepted texts, the one to learn first, or
nothing where the entry has no value or none that is beyond doubt.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tools.factbook.facts import field, without_brackets

Entry = dict[str, Any]
Texts = tuple[str, ...]

_CURRENCIES: dict[str, Texts] = {
    "Communaute Financiere Africaine francs": ("CFA franc", "West African CFA franc"),
    "Cooperation Financiere en Afrique Centrale francs": ("CFA franc", "Central African CFA franc"),
    "Coopération Financière en Afrique Centrale francs": ("CFA franc", "Central African CFA franc"),
    "Comptoirs Francais du Pacifique francs": ("CFP franc",),
    "Renminbi yuan": ("yuan", "renminbi", "Chinese yuan"),
    "konvertibilna markas": ("convertible mark", "convertible marka"),
    "new Israeli shekels": ("shekel", "Israeli shekel", "new Israeli shekel", "Israeli new shekel"),
    "nuevo sol": ("sol", "nuevo sol", "Peruvian sol"),
    "British pounds": ("pound sterling", "British pound", "pound", "sterling"),
    "Emirati dirhams": ("Emirati dirham", "UAE dirham", "dirham"),
    "Uzbekistani soum": ("Uzbekistani soum", "Uzbekistani som", "som", "soum"),
}
"""Where what people say is not what the Factbook prints."""
_SINGULARS = {
    "leke": "lek",
    "maloti": "loti",
    "emalangeni": "lilangeni",
    "kroner": "krone",
    "kronor": "krona",
    "kronur": "krona",
    "zlotych": "zloty",
    "koruny": "koruna",
    "leva": "lev",
    "lei": "leu",
    "colones": "colon",
    "quetzales": "quetzal",
    "meticais": "metical",
}
_LANGUAGES: dict[str, Texts] = {
    "Persian Farsi": ("Persian", "Farsi"),
    "English only": ("English",),
    "Standard Chinese": ("Chinese", "Standard Chinese", "Mandarin"),
    "Mandarin": ("Mandarin", "Chinese"),
    "Bahasa Indonesia": ("Indonesian", "Bahasa Indonesia"),
    "Bahasa Malaysia": ("Malay", "Bahasa Malaysia", "Malaysian", "Bahasa Melayu"),
    "Bangla": ("Bengali", "Bangla"),
}
_WORDS = (
    "ad ai am an as at be by ca de do es et go he id il in io is it la le li me my na no of om on"
    " or pa re sa so st to tv un us va we"
)
"""Internet codes that are words as well: they stand in any sentence."""


def capital(entry: Entry) -> Texts:
    """All capitals that the entry names."""
    text = re.split(r"; ?note", field(entry, "Government/Capital/name"))[0]
    if re.search(r"\baka\b|administ(?:ered|er)\b|base |no official|\bin Romanian", text):
        return ()
    if text.startswith("Washington"):
        return ("Washington", "Washington, D.C.")
    names = [without_brackets(part) for part in re.split(r"[;,](?![^(\[]*[)\]])", text)]
    names = [name for name in names if name]
    bracketed = re.findall(r"\(([A-Z][\w' -]*(?:[/,] ?[A-Z][\w' -]*)*)\)", text)
    names += [name.strip() for group in bracketed for name in re.split("[/,]", group)]
    names += [name.replace("Saint ", "St. ") for name in names if name.startswith("Saint ")]
    return tuple(dict.fromkeys(names))


def currency(entry: Entry) -> Texts:
    """The currency in the singular, with the nationality before it and its code besides."""
    text = field(entry, "Economy/Exchange rates/Currency")
    name = re.split(r" *\(| per US dollar", text)[0]
    if not name or "/" in name or " or " in name:
        return ()
    code = re.findall(r"\(([A-Z]{3})\)", text)
    if name in _CURRENCIES:
        return (*_CURRENCIES[name], *code)
    *before, last = name.split(" ")
    last = _SINGULARS.get(last) or re.sub(r"(?<=[^s])s\Z", "", last)
    names = [" ".join([*before, last])]
    adjectives = nationality(entry)[:1]
    if not before and last != "euro":
        # Whose it is comes first, as with "Kuwaiti dinar": one form for all that is learnt.
        names = [*(f"{adjective} {last}" for adjective in adjectives), *names]
    elif before and _is_own(before[0], entry):
        names += [f"{country} {last}" for country in (*adjectives, _short_name(entry))]
    return (*dict.fromkeys(names), *code)


def _is_own(adjective: str, entry: Entry) -> bool:
    """Whether the adjective of a currency is that of the country: "Kuwaiti", not "Danish"."""
    return adjective[:4] == _short_name(entry)[:4]


def _short_name(entry: Entry) -> str:
    return without_brackets(field(entry, "Government/Country name/conventional short form"))


def language(entry: Entry) -> Texts:
    """The official language, where there is one and no other has a rank beside it."""
    text = field(entry, "People and Society/Languages/Languages")
    text = text or field(entry, "People and Society/Languages")
    found = re.findall(r"([A-Z][A-Za-z -]+?)(?: [\d.]+%)? \([^()]*official[^()]*\)", text)
    if len(found) != 1 or text.count("official") != 1 or "state language" in text:
        return ()
    name = found[0].split(" or ")[0].strip()
    return _LANGUAGES.get(name, (name,))


def nationality(entry: Entry) -> Texts:
    """The adjectives of nationality."""
    text = re.split(r";|\bnote\b", field(entry, "People and Society/Nationality/adjective"))[0]
    parts = re.split(r" or |, (?:or )?|/", text.replace("(or ", "or "))
    names = [re.sub(r" *\([^()]*\)?|\)", "", part).strip() for part in parts]
    return tuple(name for name in names if name and name not in ("none", "NA"))


def independence(entry: Entry) -> Texts:
    """The year, where the entry names one only and from whom."""
    text = field(entry, "Government/Independence")
    years = set(re.findall(r"\b(1[0-9]\d\d|20\d\d)\b", text))
    return tuple(years) if len(years) == 1 and "(from " in text else ()


def internet(entry: Entry) -> Texts:
    """The top-level domain with its point, as in ".td"."""
    found = re.match(r"\.([a-z]{2})\b", field(entry, "Communications/Internet country code"))
    return (found[0],) if found and found[1] not in _WORDS.split() else ()


VALUES: dict[str, Callable[[Entry], Texts]] = {
    "capital": capital,
    "currency": currency,
    "language": language,
    "nationality": nationality,
    "independence": independence,
    "internet": internet,
}
