"""Text from outside: what is UTF-8 passes as it is, and anything else is named."""

from __future__ import annotations

import pytest

from edgeproxy.core.utf8 import check_text, check_unicode, decode
from edgeproxy.errors import PromptError


@pytest.mark.parametrize("text", ["", "plain", "Ünïcödé 🙂", "a\tb\r\nc", "\x1b[31m", "\ufffd"])
def test_text_passes_as_it_is(text: str) -> None:
    assert check_text(text, "it") == text
    assert decode(text.encode("utf-8"), "it") == decode(text.encode("utf-8-sig"), "it") == text
    assert check_unicode(text, "it").decode("utf-8") == text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"caf\xe9", "it is not UTF-8 text: byte 0xe9 at offset 3; convert it first"),
        (b"cut \xe2\x82", "it is not UTF-8 text: byte 0xe2 at offset 4; convert it first"),
        ("Hi".encode("utf-16"), "it is not UTF-8: it looks like UTF-16; convert it to UTF-8 first"),
        (
            "Hi".encode("utf-16-le"),
            "it has a NUL at character 1, which is not text: it looks like UTF-16; convert it to "
            "UTF-8 first",
        ),
        (
            "Hi".encode("utf-16-be"),
            "it has a NUL at character 0, which is not text: it looks like UTF-16; convert it to "
            "UTF-8 first",
        ),
    ],
)
def test_bytes_that_are_no_text(data: bytes, said: str) -> None:
    with pytest.raises(PromptError) as caught:
        decode(data, "it")
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "byte 0xe9 at character 3"),
        ("a\ud83d", "half of a surrogate pair"),
        ("a" + chr(0xDC00), "half of a surrogate pair"),
    ],
)
def test_text_that_is_no_unicode(text: str, said: str) -> None:
    for check in (check_text, check_unicode):
        with pytest.raises(PromptError, match=said):
            check(text, "it")
