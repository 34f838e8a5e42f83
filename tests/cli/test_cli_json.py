"""What every verb's --json has in common: what can be counted is a number, in bytes or seconds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.cli import main
from edgeproxy.trios.store import Store
from tests.helpers.store_trios import install

AMOUNT = re.compile(r"\s*[\d.,]+\s*(bytes|[kMGT]?i?B|ms|s|%|x|tokens(/s)?)?\s*")
"""A number, with a unit or without."""

VERSIONS = {"python", "llama_cpp_python", "edgeproxy"}


def texts(found: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in this JSON, with the key that it stands under."""
    if isinstance(found, dict):
        for name, value in found.items():
            yield from texts(value, name)
    elif isinstance(found, list):
        for value in found:
            yield from texts(value, key)
    elif isinstance(found, str):
        yield key, found


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls"],
        ["ls", "--all"],
        ["show", "factbook"],
        ["verify"],
        ["doctor"],
        ["bundle", "create", "factbook", "-o", "made"],
        ["rm", "mine", "--yes"],
    ],
    ids=" ".join,
)
def test_amounts_are_numbers(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    install(Store(), "mine")
    main([*arguments, "--json"])
    content = json.loads(capsys.readouterr().out)
    content.pop("environment", None)  # doctor's variables are what they are
    found = list(texts(content))
    assert found
    assert [
        (key, text) for key, text in found if AMOUNT.fullmatch(text) and key not in VERSIONS
    ] == []


def test_an_amount_as_a_text_would_be_seen() -> None:
    for text in ("123 MB", "1,130 MB", "5.6 GB", "3", "0.5 s", "97%", "31 tokens/s"):
        assert AMOUNT.fullmatch(text)
    for text in ("factbook", "Q4_0", "3 min 20 s of what", "MIT", "libc6 2.36"):
        assert not AMOUNT.fullmatch(text)
