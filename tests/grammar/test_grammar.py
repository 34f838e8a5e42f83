"""JSON schemas and grammars: what is taken, and a clear error for all that cannot be kept to."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.errors import GrammarError
from edgeproxy.grammar import grammar as module
from edgeproxy.grammar.grammar import LONGEST, Grammar, read_grammar, read_json_schema

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
    "too large a file": (json.dumps({"title": "x" * LONGEST}), "at most"),
}

HOSTILE_GRAMMARS: dict[str, tuple[str, str]] = {
    "nothing": ("", "root"),
    "brackets": ("root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000, "too deep"),
    "repeats in repeats": ('root ::= (("a"{1,1000}){1,1000}){1,1000}', "Expected"),
    "a rule that is not there": ("root ::= elsewhere", "elsewhere"),
    "no end of a text": ('root ::= "a', "Unexpected end"),
    "no grammar": ("\u0001\u0002", "Expected name"),
    "longer": ("root ::= " + '"a" ' * 300_000, "at most"),
    "looking ahead": ("start: /(?=a)b/", "look-around"),
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
