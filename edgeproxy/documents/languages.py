"""Which language words are of, and what the forms of one word have in common in it.

Stems are Snowball's (Porter, https://snowballstem.org), where the package snowballstemmer is
installed; without it a final s is left out.
"""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache

from edgeproxy.errors import UsageError

Stem = Callable[[str], str]
"""Of a word, without case and accents, what its forms have in common."""

CODES = {
    "ar": "arabic",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "ne": "nepali",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
"""ISO 639-1 -> Snowball's name."""

_OF_SCRIPT = {
    "ARABIC": ("arabic", "persian"),
    "ARMENIAN": ("armenian",),
    "CYRILLIC": ("russian", "serbian"),
    "DEVANAGARI": ("hindi", "nepali"),
    "GREEK": ("greek",),
    "HEBREW": ("yiddish",),
    "TAMIL": ("tamil",),
}
"""Languages with stems that are not written in Latin letters, the usual one of a script ahead."""

_FUNCTION_WORDS = {
    "english": (
        "the of and to is in that was for with are this from what which who when where how it "
        "on as do does did has have be by at"
    ),
    "german": (
        "der die das und ist nicht von mit den dem ein eine zu wie auf wer wo wann was welche "
        "welcher welches im sind hat wird es am"
    ),
    "french": (
        "le les des et est une dans que pour qui du sur pas quelle aux quel quels ou quand "
        "comment combien sont la de un en il au"
    ),
    "spanish": (
        "el los las y es una que por con del para como cual se lo quien donde cuando cuanto "
        "la de un en son hay al"
    ),
    "portuguese": (
        "o os as e um uma que nao do da dos para com qual em quem onde quando como quanto de "
        "no na ao"
    ),
    "italian": (
        "il gli e di che la per una sono del della nel con qual non chi dove quando come "
        "quanto le i un al"
    ),
    "dutch": (
        "het een en van de is dat niet op te zijn voor met aan welke wie waar wanneer hoe wat "
        "in die er"
    ),
    "swedish": (
        "och att det som en ar av for den pa med till inte ett vad vem var nar hur vilken i de"
    ),
    "danish": (
        "og at det som en er af for den pa med til ikke et hvad hvem hvor hvornar hvilken i de"
    ),
    "norwegian": "og at det som en er av for den pa med til ikke et hva hvem hvor nar hvilken i de",
    "finnish": "ja on ei se etta oli joka mutta ovat kuin mika tai han myos",
    "hungarian": "a az es hogy nem egy is van volt meg mi ez ki mint de",
    "polish": "i w na z nie sie jest do to ze jak po od co jaki",
    "romanian": "si de in la este cu pe nu din care un o sa pentru ce",
    "turkish": "ve bir bu da de icin ile ne olan olarak cok gibi daha mi en",
    "indonesian": "yang dan di itu dengan untuk tidak dari dalam apa ini adalah pada ke oleh",
    "catalan": "el els les i es una que per amb del com quin no la dels",
    "lithuanian": "ir yra kad su is tai kaip bet buvo ne i kas jis apie nuo",
}
"""Frequent words of languages in Latin letters, without accents, to tell these languages apart."""

_SETS = {language: frozenset(words.split()) for language, words in _FUNCTION_WORDS.items()}

_PLURAL_S = ("english", "french", "spanish", "portuguese", "catalan", "dutch")

_ENOUGH = 2
"""So many function words must speak for a language."""

_BEFORE_ARABIC = ("", "ال", "وال", "بال", "كال", "فال", "لل", "و", "ب", "ل")
"""What Arabic writes together with the word that follows: articles and prepositions."""
_ARTICLE = re.compile("[وبكف]?ال|لل")

_SHORTEST = 3
"""A beginning by which words are looked for has so many letters, two beyond Latin ones."""


def function_words() -> list[str]:
    """All words whose frequencies tell languages apart."""
    return sorted(frozenset().union(*_SETS.values()))


def is_function_word(word: str, language: str | None) -> bool:
    """Whether a word is of those that hold a language's sentences together."""
    return language is not None and word in _SETS.get(language, ())


def language_of(counts: Mapping[str, float]) -> str | None:
    """The language whose function words are most frequent, or None where none stands out.

    `counts` has how often words occur. A word of several languages counts for each of them.
    """
    scores = {}
    for language, words in _SETS.items():
        found = [counts[word] for word in words if counts.get(word)]
        scores[language] = sum(found) if len(found) >= _ENOUGH else 0.0
    best = max(scores, key=lambda language: scores[language])
    rest = max(score for language, score in scores.items() if language != best)
    return best if scores[best] > rest else None


def check_language(name: str) -> str | None:
    """Snowball's name of a language, given so or as in ISO 639-1; None where it has no stems.

    Raises `UsageError` for what is neither.
    """
    asked = name.strip().casefold()
    if asked in CODES.values():
        return asked
    if not (asked.isascii() and asked.replace("-", "").isalpha() and 2 <= len(asked) <= 20):
        raise UsageError(f'{name!r} is no language; give a code of ISO 639-1, such as "de"')
    return CODES.get(asked.partition("-")[0])


def stem_of(word: str, latin: str | None) -> Stem | None:
    """The stemmer for `word`: by its script, and for Latin letters of the language `latin`.

    `latin` may also be a language of another script, which is then taken for words of that script.
    None where there is none.
    """
    script = _script(word)
    if script == "LATIN":
        others = {language for languages in _OF_SCRIPT.values() for language in languages}
        return _stemmer(latin) if latin and latin not in others else _without_s
    languages = _OF_SCRIPT.get(script, ())
    if not languages:
        return None
    return _stemmer(latin if latin in languages else languages[0])


def beginnings(word: str, stem: str) -> list[str]:
    """How words begin that may have that stem; empty where it is too short to look by.

    Stems change final letters (happy: happi), so the last one is left out of longer stems.
    """
    common = 0
    while common < min(len(word), len(stem)) and word[common] == stem[common]:
        common += 1
    if _script(word) == "ARABIC":
        core = stem if len(stem) > _SHORTEST else stem[:_SHORTEST]
        cores = [core for core in dict.fromkeys((core, bare(word))) if len(core) > 1]
        return [before + core for core in cores for before in _BEFORE_ARABIC]
    begin = word[: common - 1] if common > _SHORTEST + 1 else word[:common]
    return [begin] if len(begin) >= (2 if not word.isascii() else _SHORTEST) else []


def bare(word: str) -> str:
    """An Arabic word without its article, which stems do not always agree about; others as is."""
    if word.isascii() or len(word) < _SHORTEST + 2:
        return word
    return _ARTICLE.sub("", word, count=1) if _ARTICLE.match(word) else word


@cache
def _stemmer(language: str) -> Stem | None:
    try:
        snowball = importlib.import_module("snowballstemmer")
    except ImportError:
        return _without_s if language in _PLURAL_S else None
    if language not in snowball.algorithms():
        return None
    stem: Stem = snowball.stemmer(language).stemWord
    return stem


def _without_s(word: str) -> str:
    return word[:-1] if len(word) > _SHORTEST and re.search("[^s]s$", word) else word


def _script(word: str) -> str:
    for c in word:
        if c.isalpha():
            return "LATIN" if c.isascii() else unicodedata.name(c, "?").split()[0]
    return ""
