"""Bodies are read strictly: JSON objects that say one thing."""

from __future__ import annotations

import pytest

from edgeproxy.serve.http.body import parse
from edgeproxy.serve.http.limits import Limits
from edgeproxy.serve.protocol import RefusedError
from tests.helpers.http_fakes import Asking

DEPTH = 8

WRONG = {
    "nothing": b"",
    "a space": b" ",
    "a word": b"hello",
    "half": b'{"a": 1',
    "two": b"{}{}",
    "a comma": b'{"a": 1,}',
    "a comment": b'{"a": 1} // x',
    "single quotes": b"{'a': 1}",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "text": b'"a"',
    "nan": b'{"a": NaN}',
    "infinity": b'{"a": Infinity}',
    "minus infinity": b'{"a": -Infinity}',
    "too large": b'{"a": 1e999}',
    "minus too large": b'{"a": -1e999}',
    "digits": b'{"a": ' + b"9" * 100_000 + b"}",
    "decimals": b'{"a": 0.' + b"9" * 100_000 + b"}",
    "hexadecimal": b'{"a": 0x10}',
    "a leading zero": b'{"a": 01}',
    "twice": b'{"a": 1, "a": 2}',
    "twice inside": b'{"b": [{"a": 1, "a": 1}]}',
    "twice by an escape": b'{"a": 1, "\\u0061": 2}',
    "latin-1": b'{"a": "\xe4"}',
    "overlong": b'{"a": "\xc0\xaf"}',
    "a raw surrogate": b'{"a": "\xed\xa0\x80"}',
    "half a pair": b'{"a": "\\ud800"}',
    "the other half": b'{"a": ["\\udc00"]}',
    "half a pair as a name": b'{"\\ud800": 1}',
    "a bare control": b'{"a": "\x01"}',
    "a bare zero byte": b'{"a": "\x00"}',
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "deep lists": b'{"a": ' + b"[" * DEPTH + b"]" * DEPTH + b"}",
    "deep objects": b'{"a": ' * (DEPTH + 1) + b"1" + b"}" * (DEPTH + 1),
    "very deep": b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep and half": b"[" * 200_000,
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_what_is_no_plain_object_is_refused(data: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        parse(data, DEPTH)
    assert refused.value.status == 400
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"{}", {}),
        (b' {"a": [1, -2.5e3, true, null]} \n', {"a": [1, -2500.0, True, None]}),
        ('{"\u00e4": "\U0001f600"}'.encode(), {"\u00e4": "\U0001f600"}),
        (b'{"a": "\\ud83d\\ude00\\u0000"}', {"a": "\U0001f600\x00"}),
        (b'{"a": {"a": {"a": 1}}}', {"a": {"a": {"a": 1}}}),
        (b'{"a": ' + b"[" * (DEPTH - 1) + b"1" + b"]" * (DEPTH - 1) + b"}", None),
    ],
)
def test_a_plain_object_is_read(data: bytes, value: object) -> None:
    found = parse(data, DEPTH)
    assert value is None or found == value


@pytest.mark.parametrize("size", [100, 200_000])
def test_a_body_has_a_limit(size: int) -> None:
    asking = Asking(limits=Limits(body=size))
    rest = len('{"text":""}')
    assert asking.post({"text": "x" * (size - rest)}).status_code == 200
    assert asking.post({"text": "x" * (size - rest + 1)}).status_code == 413
    assert len(asking.engine.asked) == 1
