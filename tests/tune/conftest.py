"""A fixture of the tests of tuning: how many processors PyTorch may have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch has one thread: other tests run beside this one."""
    from edgeproxy.tune.speed import using_threads

    with using_threads(1):
        yield
