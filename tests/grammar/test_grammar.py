"""JSON schemas and grammars: what is taken, and a clear error for all that cannot be kept to."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.errors import GrammarError
from edgeproxy.grammar import grammar as module
from edgeproxy.grammar.grammar import LONGEST, MOST_RULES, Grammar, read_grammar, read_json_schema

NESTED: Any = {"type": "string"}
for _ in range(5000):
    NESTED = [NESTED]

HOSTILE_SCHEMAS: dict[str, tuple[str, str]] = {
    "not JSON": ("{", "this is not JSON"),
    "a list": ("[]", "a JSON schema is an object"),
    "nothing": ("", "this is not JSON"),
    "a number": ("5", "a JSON schema is an object"),
    "too deep": ('{"items":' * 5000 + "{}" + "}" * 5000, "recursion"),
    "deeper than Python reads": ('{"items":' * 20_000 + "{}" + "}" * 20_000, "not JSON"),
    "never": ("false", "no JSON text"),
    "whatever": ("true", "asks for nothing"),
    "no number": ('{"type": "integer", "minimum": 5, "maximum": 3}', "Unsatisfiable"),
    "an unknown keyword of the standard": (
        '{"not": {"type": "string"}}',
        'no reply can be held to the keyword "not"; leave it out',
    ),
    "unique items": (
        '{"type": "array", "uniqueItems": true, "not": {}}',
        'no reply can be held to the keywords "not", "uniqueItems"; leave them out',
    ),
    "an unknown format": ('{"type": "string", "format": "strange"}', "Unknown format"),
    "an unknown type": ('{"type": "strange"}', "strange"),
    "somebody else's schema": ('{"$ref": "http://example.com/s"}', "http://example.com/s"),
    "a file": ('{"$ref": "file:///etc/passwd"}', "file:///etc/passwd"),
    "brackets": (
        json.dumps({"type": "string", "pattern": "(" * 2000 + ")" * 2000}),
        "maximum number of nested parentheses",
    ),
    "looking ahead": ('{"type": "string", "pattern": "(?=a)b"}', "look-around"),
    "three thousand schemas in one": (
        json.dumps({"allOf": [{"properties": {f"p{n}": {}}} for n in range(3000)]}),
        "too large",
    ),
    "too many names": (
        json.dumps({"properties": {f"p{n}": {} for n in range(4001)}}),
        "4,001 names in one object; at most 4,000",
    ),
    "too large a file": (json.dumps({"title": "x" * LONGEST}), "at most"),
}


def rules(count: int) -> str:
    """GBNF of so many rules, of which each leads to the next."""
    links = (f'r{n} ::= "x" r{n + 1}' for n in range(1, count - 1))
    return "\n".join(["root ::= r1", *links, f'r{count - 1} ::= "y"'])


def terminals(count: int) -> str:
    """The same of Lark's, which become one expression."""
    links = (f'R{n}: "x" R{n + 1}' for n in range(1, count - 1))
    return "\n".join(["start: R1", *links, f'R{count - 1}: "y"', ""])


def references(count: int, depth: int) -> str:
    """A schema in which each of so many references leads to the next, so deep inside of lists."""
    found: dict[str, Any] = {str(count): {"type": "string"}}
    for n in range(count):
        inside: dict[str, Any] = {"$ref": f"#/$defs/{n + 1}"}
        for _ in range(depth):
            inside = {"items": inside}
        found[str(n)] = inside
    return json.dumps({"$ref": "#/$defs/0", "$defs": found}, separators=(",", ":"))


CHAINS: dict[str, tuple[str, str]] = {
    "rules": ("grammar", rules(MOST_RULES)),
    "terminals": ("grammar", terminals(MOST_RULES)),
    "references": ("json_schema", references(3900, 0)),
    "references in lists": ("json_schema", references(3900, 1)),
    "references deep in lists": ("json_schema", references(100, 60)),
    "few rules": ("grammar", rules(200)),
    "few references": ("json_schema", references(20, 60)),
}
READS = """
import sys, threading
from edgeproxy.grammar.grammar import Grammar

def read():
    getattr(Grammar, sys.argv[1])(sys.stdin.read())
    print("read")

threading.stack_size(512 << 10)  # as threads of macOS have
thread = threading.Thread(target=read)
thread.start()
thread.join()
"""


LONG: dict[str, str] = {
    "empty lines": 'root ::= "a"' + "\n" * 250_000,
    "empty lines of Lark": 'start: "a"' + "\n" * 250_000,
    "empty lines before": "\n" * 250_000 + 'root ::= "a"',
    "spaces": 'root ::= "a"' + " " * 250_000,
    "spaces in lines": 'root ::= "a"' + ("\n" + " " * 500) * 500,
    "a long name": f'root ::= {"a" * 120_000}\n{"a" * 120_000} ::= "a"',
    "a long text": 'root ::= "' + "a" * 250_000 + '"',
    "comments": 'root ::= "a"\n' + "# a\n" * 60_000,
}
TOO_LONG = 60
"""Seconds; what took quadratic time took minutes, in which no other thread of Python went on."""


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_what_is_long_does_not_take_long(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READS, "grammar"],
        input=LONG[name],
        capture_output=True,
        text=True,
        check=False,
        timeout=TOO_LONG,
    )
    assert "read" in done.stdout or "GrammarError" in done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAINS)
def test_what_leads_far_ends_no_process(name: str) -> None:
    how, text = CHAINS[name]
    assert len(text) <= LONGEST
    done = subprocess.run(
        [sys.executable, "-c", READS, how], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr


HOSTILE_GRAMMARS: dict[str, tuple[str, str]] = {
    "nothing": ("", "root"),
    "brackets": ("root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000, "too deep"),
    "repeats in repeats": ('root ::= (("a"{1,1000}){1,1000}){1,1000}', "Expected"),
    "a rule that is not there": ("root ::= elsewhere", "elsewhere"),
    "no end of a text": ('root ::= "a', "Unexpected end"),
    "no grammar": ("\u0001\u0002", "Expected name"),
    "longer": ("root ::= " + '"a" ' * 300_000, "at most"),
    "looking ahead": ("start: /(?=a)b/", "look-around"),
    "too many rules": (rules(MOST_RULES + 1), "2,001 rules; at most 2,000 are read"),
    "too many terminals": (terminals(MOST_RULES + 1), "2,001 rules; at most"),
    "far too many rules": (rules(8000), "8,000 rules; at most"),
    "rules of an old Macintosh": (rules(8000).replace("\n", "\r"), "8,000 rules; at most"),
    "an import of a file": ('%import "/etc/passwd"\nstart: "a"', "Expected name"),
    "a NUL": ('root ::= "\0"', "NUL"),
    "half a character": ('root ::= "\ud800"', "surrogate"),
}


@pytest.mark.parametrize("name", HOSTILE_SCHEMAS)
def test_a_schema_that_cannot_be_kept_to_is_one_clear_error(name: str) -> None:
    text, said = HOSTILE_SCHEMAS[name]
    with pytest.raises(GrammarError, match=said) as caught:
        Grammar.json_schema(text, "s.json")
    assert str(caught.value).startswith("s.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", HOSTILE_GRAMMARS)
def test_a_grammar_that_cannot_be_kept_to_is_one_clear_error(name: str) -> None:
    text, said = HOSTILE_GRAMMARS[name]
    with pytest.raises(GrammarError, match=said) as caught:
        Grammar.grammar(text, "g.gbnf")
    assert str(caught.value).startswith("g.gbnf")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_data_that_is_no_json_is_no_schema() -> None:
    with pytest.raises(GrammarError, match="not JSON"):
        Grammar.json_schema({"enum": [object()]})
    with pytest.raises(GrammarError, match="not JSON"):
        Grammar.json_schema({"items": NESTED})


def test_schemas_are_read_from_files(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text('\ufeff{"type": "integer"}', "utf-8")
    assert read_json_schema(path).name == str(path)
    for wrong in (tmp_path, tmp_path / "nowhere.json"):
        with pytest.raises(GrammarError, match="give a file"):
            read_json_schema(wrong)
    path.write_bytes(b'{"title": "\xff"}')
    with pytest.raises(GrammarError, match="not UTF-8"):
        read_json_schema(path)
    path.write_bytes(b" " * (LONGEST + 1))
    with pytest.raises(GrammarError, match="the most that are read"):
        read_json_schema(path)


def test_grammars_are_read_from_files(tmp_path: Path) -> None:
    path = tmp_path / "g.gbnf"
    path.write_text('root ::= "yes" | "no"\n', "utf-8")
    gbnf = read_grammar(path)
    path.write_text('start: "yes" | "no"\n', "utf-8")
    lark = read_grammar(path)
    assert "yes" in gbnf.text
    assert "yes" in lark.text


def test_without_the_extra_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(module, "import_module", missing)
    with pytest.raises(GrammarError, match=r"pip install 'edgeproxy\[grammar\]'"):
        Grammar.json_schema("{}")
    monkeypatch.setattr(module, "import_module", lambda name: builtins.__import__("no_such_thing"))
    with pytest.raises(GrammarError, match="is not installed"):
        Grammar.grammar('root ::= "a"')
