"""Fixtures of trios whose base is on a server: their files, the base here, and on a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from tests.helpers.served_trios import Files, Served, served_file, write_trio


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Three tiny models."""
    return write_trio(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def here(files: Files) -> Iterator[Session]:
    """The base here."""
    with load(**files, n_threads=1) as session:
        yield session


@pytest.fixture(scope="module")
def llama(files: Files) -> Iterator[Served]:
    """The base on a llama-server."""
    with served_file(files["base"]) as served:
        yield served
