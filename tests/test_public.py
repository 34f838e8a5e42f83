"""What a program that imports edgeproxy sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import edgeproxy

PUBLIC = [
    "Conversation",
    "EdgeproxyError",
    "Grammar",
    "Message",
    "Piece",
    "Recipe",
    "Sampling",
    "Session",
    "Steering",
    "Turn",
    "__version__",
    "load",
    "load_async",
]


def test_the_public_names_are_these() -> None:
    assert edgeproxy.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_had_and_is_documented(name: str) -> None:
    assert getattr(edgeproxy, name).__doc__


def test_type_checkers_are_told_that_it_is_typed() -> None:
    assert (Path(edgeproxy.__file__).parent / "py.typed").is_file()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'generate_text'"):
        edgeproxy.generate_text  # noqa: B018


def test_importing_edgeproxy_imports_neither_numpy_nor_llama_cpp() -> None:
    code = (
        "import sys, edgeproxy; "
        "print(sorted({'numpy', 'llama_cpp', 'jinja2', 'click'} & set(sys.modules)))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


def test_every_error_is_an_edgeproxy_error() -> None:
    from edgeproxy import errors

    raised = [value for value in vars(errors).values() if isinstance(value, type)]
    assert all(issubclass(error, edgeproxy.EdgeproxyError) for error in raised)
    assert issubclass(errors.UsageError, ValueError)
