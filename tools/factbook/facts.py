"""The World Factbook (CC0) read from its archive: countries with short facts, and prose.

A fact is one short value for one kind of question (capital, currency, population ...). Values
are taken from the Factbook's fields by the small parsers below; a field that does not parse is
left out.

A country is *held out* when the md5 of its Factbook short name begins with 0, 1, 2 or 3. Where the
name shown here differs from the literal field ("none", brackets), either of the two puts it there,
and only countries for which both do are asked about in the test.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ARCHIVE = "world-factbook.tar.xz"


@dataclass(frozen=True)
class Fact:
    """One value: `text` is what a sentence shows, `answers` what counts as right."""

    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Country:
    """One entry of the Factbook, its facts by kind and its prose paragraphs."""

    name: str
    held_out: bool
    tested: bool
    facts: dict[str, Fact]
    prose: tuple[str, ...]


def find_archive(given: Path | None = None) -> Path:
    """Return the archive's path: `given`, or `shared/data` beside one of the folders above."""
    folders = [Path.cwd(), *Path.cwd().parents, *Path(__file__).resolve().parents]
    places = [given] if given else [folder / "shared" / "data" / ARCHIVE for folder in folders]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"{ARCHIVE} was not found; say where it is with --data PATH")


def is_held_out(name: str) -> bool:
    """Whether the md5 of the name's UTF-8 bytes begins with 0, 1, 2 or 3 (in hexadecimal)."""
    return hashlib.md5(name.encode()).hexdigest()[0] in "0123"


def plain(text: str) -> str:
    """Return `text` without mark-up, entities and runs of white space."""
    text = html.unescape(re.sub(r"<[^>]*>", " ", text)).replace("\u2019", "'").replace("\xa0", " ")
    return re.sub(r"\s+", " ", text).strip()


def field(entry: dict[str, Any], path: str) -> str:
    """Return the plain text of the field at `path` ("Geography/Climate"), "" if there is none."""
    node: Any = entry
    for key in path.split("/"):
        node = node.get(key) if isinstance(node, dict) else None
    text = node.get("text", "") if isinstance(node, dict) else node
    return plain(text) if isinstance(text, str) else ""


def without_brackets(text: str) -> str:
    """Return `text` without "(...)", and stopped at the first note."""
    text = re.split(r"; ?note|note ?-|note:", text)[0]
    return re.sub(r"\s+", " ", re.sub(r"\s*\([^()]*\)?", "", text)).strip(" ;,.")


def split_list(text: str, most: int) -> list[str]:
    """Return the first short items of a comma-separated field."""
    items = [without_brackets(item) for item in re.split(r"[,;]", re.sub(r"\([^()]*\)", "", text))]
    items = [item for item in items if re.fullmatch(r"[^\d%:]{2,32}", item) and " - " not in item]
    return items[:most]


def join(items: list[str]) -> str:
    """Return "a, b and c"."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def rounded(number: float) -> str:
    """Return `number` to three digits, as people say it: "19.7 million", "64,300", "512"."""
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{float(f'{number / size:.3g}'):g} {word}"
    return f"{int(float(f'{number:.3g}')):,}"


def number_in(text: str) -> float | None:
    """Return the first number in `text`, "million" and "billion" minded."""
    found = re.search(r"(-?[\d,]*\.?\d+)\s*(million|billion|trillion)?", text)
    if not found:
        return None
    scale = {"million": 1e6, "billion": 1e9, "trillion": 1e12}.get(found[2] or "", 1.0)
    return float(found[1].replace(",", "")) * scale


Parser = Callable[[str], "Fact | None"]


def _same(text: str) -> Fact | None:
    return Fact(text, (text,)) if text else None


def _name(most: int) -> Parser:
    def parse(text: str) -> Fact | None:
        value = re.split(r"[;,]| or | in |/", without_brackets(text))[0].strip()
        return _same(value) if 2 <= len(value) <= most and value != "none" else None

    return parse


def _clause(text: str) -> Fact | None:
    value = re.split(r";", without_brackets(text))[0].strip()
    return _same(value) if 4 <= len(value) <= 60 and value != "none" else None


def _singular(text: str) -> Fact | None:
    value = without_brackets(re.split(r"\(| per US dollar", text)[0])
    if not value or len(value) > 60:
        return None
    if re.search(r"[^s]s$", value) and not value.endswith(("dalasis", "us", "kwachas")):
        value = value[:-1]
    return Fact("the " + value, (value,))


def _point(text: str) -> Fact | None:
    found = re.match(r"(.+?) (-?[\d,.]+) m\b", re.sub(r"\([^()]*\)", "", text.split(";")[0]))
    if not found or re.search(r"unnamed|level|location|less than|more than|near ", text[:60]):
        return None
    name = re.split(r" on | in | of the ", re.sub(r"\s+", " ", found[1]).strip(" ,"))[0]
    if not 3 <= len(name) <= 36:
        return None
    return Fact(f"{name} ({found[2]} m)", tuple(dict.fromkeys((name, *name.split("/")))))


def _quoted(text: str) -> Fact | None:
    found = re.match(r'"([^"]{3,60})"', text.replace("\u201c", '"').replace("\u201d", '"'))
    if not found:
        return None
    title = found[1].strip(" ,")
    return Fact(f'"{title}"', (title,))


def _year(text: str) -> Fact | None:
    found = re.search(r"\b(1[0-9]\d\d|20\d\d)\b", text)
    return _same(found[1]) if found and not text.startswith("none") else None


def _holiday(text: str) -> Fact | None:
    found = re.match(r"([^(),;]+?)(?: \([^()]*\))?, (\d{1,2} [A-Z][a-z]+)\b", text)
    return Fact(f"{found[1]}, {found[2]}", (found[2],)) if found else None


def _official(text: str) -> Fact | None:
    names = re.findall(
        r"([A-Z][A-Za-z -]+?)(?: [\d.]+%)? \([^()]*official(?! regional)[^()]*\)", text
    )
    names = [name.split(" or ")[0].strip() for name in names]
    return _same(names[0]) if len(names) == 1 else None


def _figure(unit: str, scale: float = 1.0) -> Parser:
    def parse(text: str) -> Fact | None:
        number = number_in(text)
        if number is None or number == 0:
            return None
        value = rounded(number * scale) if number >= 1000 else f"{number:g}"
        return Fact((value + " " + unit).strip() if unit != "%" else value + "%", (value,))

    return parse


def _dollars(text: str) -> Fact | None:
    number = number_in(text)
    return Fact("$" + rounded(number), (rounded(number),)) if number else None


def _people(text: str) -> Fact | None:
    number = number_in(text)
    return _same(rounded(number)) if number and number >= 40 else None


def _several(most: int) -> Parser:
    def parse(text: str) -> Fact | None:
        items = split_list(text, most)
        return Fact(join(items), tuple(items)) if items and items != ["none"] else None

    return parse


def _first_item(text: str) -> Fact | None:
    items = split_list(text.removeprefix("none"), 1)
    return _same(items[0]) if items else None


def _partner(text: str) -> Fact | None:
    found = re.match(r"([A-Z][A-Za-z. &]+?) (\d+)%", text)
    return Fact(f"{found[1]} ({found[2]}%)", (found[1],)) if found else None


def _borders(text: str) -> Fact | None:
    names = re.findall(r"([A-Z][^\d;()]*?)(?: \([^()]*\))? [\d,.]+ km", text)
    names = list(dict.fromkeys(name.strip(" ,") for name in names))
    return Fact(join(names), tuple(names)) if 1 <= len(names) <= 14 else None


def _count(text: str) -> Fact | None:
    found = re.match(r"(\d+) ([a-z]+(?: (?!and|in|of|none)[a-z]+)?)", text)
    return Fact(f"{found[1]} {found[2]}", (f"{found[1]} {found[2]}",)) if found else None


def _code(text: str) -> Fact | None:
    found = re.match(r"\.[a-z]{2}\b", text)
    return _same(found[0]) if found else None


def _zone(text: str) -> Fact | None:
    found = re.match(r"UTC ?[-+]?\d[\d:.]*", text)
    return _same(found[0]) if found else None


def _city(text: str) -> Fact | None:
    found = re.search(r"[\d.,]+(?: million)? ([^,(\d]+)", text)
    return _same(found[1].strip().title()) if found and len(found[1]) < 30 else None


# kind -> (fields tried in turn, parser)
FIELDS: dict[str, tuple[tuple[str, ...], Parser]] = {
    "capital": (("Government/Capital/name",), _name(32)),
    "currency": (("Economy/Exchange rates/Currency",), _singular),
    "nationality": (("People and Society/Nationality/adjective",), _name(32)),
    "internet": (("Communications/Internet country code",), _code),
    "highest": (("Geography/Elevation/highest point",), _point),
    "lowest": (("Geography/Elevation/lowest point",), _point),
    "anthem": (("Government/National anthem(s)/title",), _quoted),
    "government": (("Government/Government type",), _clause),
    "independence": (("Government/Independence",), _year),
    "holiday": (("Government/National holiday",), _holiday),
    "symbol": (("Government/National symbol(s)",), _first_item),
    "colours": (("Government/National color(s)",), _several(4)),
    "language": (
        ("People and Society/Languages/Languages", "People and Society/Languages"),
        _official,
    ),
    "languages": (
        ("People and Society/Languages/Languages", "People and Society/Languages"),
        lambda text: _several(5)(re.sub(r"\([^()]*\)|[\d.,]+%| (?=,)", "", text)),
    ),
    "region": (("Geography/Map references",), _name(40)),
    "population": (("People and Society/Population/total",), _people),
    "area": (("Geography/Area/total ", "Geography/Area/total"), _figure("square km")),
    "life": (("People and Society/Life expectancy at birth/total population",), _figure("years")),
    "age": (("People and Society/Median age/total",), _figure("years")),
    "coast": (("Geography/Coastline",), _figure("km")),
    "income": (
        (
            "Economy/Real GDP per capita/Real GDP per capita 2024",
            "Economy/Real GDP per capita/Real GDP per capita 2023",
        ),
        _dollars,
    ),
    "airports": (("Transportation/Airports",), _figure("")),
    "urban": (("People and Society/Urbanization/urban population",), _figure("%")),
    "fertility": (("People and Society/Total fertility rate",), _figure("")),
    "online": (("Communications/Internet users/percent of population",), _figure("%")),
    "growth": (("People and Society/Population growth rate",), _figure("%")),
    "literacy": (("People and Society/Literacy/total population",), _figure("%")),
    "elevation": (("Geography/Elevation/mean elevation",), _figure("m")),
    "aircraft": (("Transportation/Civil aircraft registration country code prefix",), _name(8)),
    "partner": (("Economy/Exports - partners",), _partner),
    "supplier": (("Economy/Imports - partners",), _partner),
    "exports": (("Economy/Exports - commodities",), _several(5)),
    "imports": (("Economy/Imports - commodities",), _several(3)),
    "export": (("Economy/Exports - commodities",), _first_item),
    "industries": (("Economy/Industries",), _several(3)),
    "crops": (("Economy/Agricultural products",), _several(4)),
    "resources": (("Geography/Natural resources",), _several(4)),
    "neighbours": (("Geography/Land boundaries/border countries",), _borders),
    "legislature": (("Government/Legislative branch/legislature name",), _name(40)),
    "zone": (("Government/Capital/time difference",), _zone),
    "divisions": (("Government/Administrative divisions",), _count),
    "city": (("People and Society/Major urban areas - population",), _city),
    "birth": (("People and Society/Birth rate",), _figure("")),
    "death": (("People and Society/Death rate",), _figure("")),
    "infant": (("People and Society/Infant mortality rate/total",), _figure("")),
    "forest": (("Geography/Land use/forest",), _figure("%")),
    "mobiles": (("Communications/Telephones - mobile cellular/total subscriptions",), _people),
    "sales": (("Economy/Exports/Exports 2023", "Economy/Exports/Exports 2022"), _dollars),
    "gdp": (("Economy/GDP (official exchange rate)",), _dollars),
    "electricity": (("Energy/Electricity/installed generating capacity",), _figure("kW")),
    "border": (("Geography/Land boundaries/total",), _figure("km")),
}

PROSE = (
    "Introduction/Background",
    "Geography/Location",
    "Geography/Climate",
    "Geography/Terrain",
    "Geography/Geography - note",
    "Geography/Population distribution",
    "Economy/Economic overview",
    "Government/Country name/etymology",
    "Government/Capital/etymology",
    "Government/Flag",
    "Government/Legal system",
)


def display_name(short: str, long: str) -> str:
    """Return the name used in all texts: the short form without brackets, else the long form."""
    if "Vatican" in short:
        return "Vatican City"
    if short.startswith("Congo"):
        return "Congo-Brazzaville"
    if short == "The Dominican":
        return "Dominican Republic"
    short = without_brackets(short)
    return without_brackets(long) if short in ("", "none") else short


def read_country(entry: dict[str, Any]) -> Country | None:
    """Return the country of one JSON file, or None for oceans, the world and nameless entries."""
    short = field(entry, "Government/Country name/conventional short form")
    name = display_name(short, field(entry, "Government/Country name/conventional long form"))
    if not name or name == "none" or len(name) > 48:
        return None
    facts = {}
    for kind, (paths, parse) in FIELDS.items():
        text = next((text for path in paths if (text := field(entry, path))), "")
        fact = parse(text) if text and not text.startswith(("NA", "n/a")) else None
        if fact:
            facts[kind] = fact
    prose = []
    for path in PROSE:
        text = re.sub(r"^(description|note( \d)?): ?", "", field(entry, path))
        if len(text) > 30:
            prose.append(f"{name}: {text}" if path != PROSE[0] else text)
    literal, shown = is_held_out(short), is_held_out(name)
    return Country(name, literal or shown, literal and shown, facts, tuple(prose))


def read_entries(archive: Path) -> list[dict[str, Any]]:
    """Return what each JSON file of the archive holds, in the order of their file names."""
    with tarfile.open(archive) as tar:
        members = sorted((m for m in tar if m.name.endswith(".json")), key=lambda m: m.name)
        streams = (tar.extractfile(member) for member in members)
        return [json.load(stream) for stream in streams if stream]


def read_countries(archive: Path) -> list[Country]:
    """Return all countries and territories of the archive, in the order of their file names."""
    found = [country for entry in read_entries(archive) if (country := read_country(entry))]
    return list({country.name: country for country in found}.values())
