"""What goes over the pipe: values come back as they were, and nonsense is refused."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import struct
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy import errors
from edgeproxy.decode.compared import Compared, Edge, Known
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Steering
from edgeproxy.errors import EdgeproxyError, ModelFileError, RemoteError, UsageError
from edgeproxy.prompts.formats import Message
from edgeproxy.session.turn import Asked, Opinion, Scored, Step
from edgeproxy.trios.find import Recipe
from edgeproxy.worker import frames
from edgeproxy.worker.faults import error_of, told
from edgeproxy.worker.frames import NoMessageError, packed, read
from edgeproxy.worker.values import TYPES, NoValueError, decoded, encoded
from tests.helpers.fakes import fake_vocab


def back(value: object) -> object:
    return decoded(json.loads(json.dumps(encoded(value))))


def test_all_types_are_where_the_table_says_and_are_plain_records() -> None:
    for module, names in TYPES.items():
        for name in names:
            kind = getattr(import_module(module), name)
            assert kind.__module__ == module
            assert dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.integers(), inner)
    ),
    max_leaves=20,
)


@given(values)
def test_values_come_back(value: object) -> None:
    assert back(value) == value


def test_records_come_back() -> None:
    scored = Scored(1, -0.5), Scored(2, -math.inf)
    opinion = Opinion(scored, scored[0])
    known = Known(1, -0.5, -1.0, -math.inf)
    far = Edge(2.0, (1, 2), -math.inf)
    compared = Compared(0.5, 0.25, True, (known,), -0.5, -0.25, far, False, 1.5)
    for value in (
        Step(opinion, opinion, opinion, opinion, compared, False),
        Asked((Message("user", "\ud800 \0 ☃"),), Sampling(seed=1), 5, ("a",), Steering(), 3),
        Sampling(temperature=0.5, logit_bias={3: 1.5}),
        Path("a/b"),
        b"\x00\xff",
        frozenset({1, 2}),
        {"#": "Step", "v": []},
        [1, (2, [3])],
    ):
        assert back(value) == value
        assert type(back(value)) is type(value)
    assert encoded(np.float32(0.5)) == 0.5
    assert encoded(np.int64(7)) == 7
    vocab: Any = back(fake_vocab())
    assert vocab.tokens == fake_vocab().tokens


def test_a_trios_recipe_comes_back(factbook_recipe: Recipe) -> None:
    assert back(factbook_recipe) == factbook_recipe


@pytest.mark.parametrize("value", [object(), {1, 2}, lambda: 1, Exception("x"), np.zeros(3), 1j])
def test_what_may_not_be_sent_is_refused(value: object) -> None:
    with pytest.raises(NoValueError):
        encoded(value)


@pytest.mark.parametrize(
    "value",
    [
        {"#": "os.system", "v": ["true"]},
        {"#": "Popen", "v": []},
        {"#": "Step", "v": []},
        {"#": "Path", "v": [1]},
        {"#": "bytes", "v": 3},
        {"#": 5},
        {"#": None, "v": []},
        {"#": "Exception", "v": ["x"]},
    ],
)
def test_what_stands_for_no_value_is_refused(value: object) -> None:
    with pytest.raises(NoValueError):
        decoded(value)


def test_a_record_that_its_type_refuses_is_refused() -> None:
    with pytest.raises(UsageError):
        decoded({"#": "Steering", "v": ["much", 1.0, 0.0, "constant"]})


@given(st.lists(values, max_size=4), st.integers(1, 7))
def test_messages_come_whole_in_whatever_chunks(messages: list[object], size: int) -> None:
    data = b"".join(packed(encoded(message)) for message in messages)

    class Drops(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            return super().read(size)

    assert [decoded(each) for each in read(Drops(data))] == messages


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\x05[1,2",
        b"\0\0\0\x02{]",
        b"\0\0\0\x01\xff",
        b"\0\0",
        struct.pack(">I", 200_000) + b"[" * 200_000,
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(NoMessageError):
        list(read(io.BytesIO(data)))


def test_a_message_that_is_too_long_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "LONGEST", 10)
    with pytest.raises(ValueError, match="too long"):
        packed("x" * 20)


@pytest.mark.parametrize(
    "error",
    [
        ModelFileError("a", "b"),
        RemoteError("http://x", "it is busy", 503),
        UsageError("no"),
        errors.BusyError("busy"),
        MemoryError(),
        OSError(28, "No space left on device", "a/b"),
    ],
)
def test_errors_come_back(error: Exception) -> None:
    found = error_of(json.loads(json.dumps(told(error))))
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)


def test_every_error_of_ours_comes_back() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type)]
    for kind in kinds:
        count = 3 if issubclass(kind, RemoteError) else 1
        two = "ModelFileError", "UnreadableError", "QueueFullError"
        count = 2 if kind.__name__ in two else count
        error = kind(*["x", "y", 1][:count])
        assert isinstance(error, EdgeproxyError)
        assert str(error_of(told(error))) == str(error)


@pytest.mark.parametrize("said", [["SystemExit", "1"], ["Exception", "x"], ["print", "x"]])
def test_no_other_error_is_made(said: list[Any]) -> None:
    with pytest.raises(ValueError, match="no error"):
        error_of(said)
