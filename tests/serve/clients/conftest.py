"""A real server of the factbook trio, and the clients that EDGEPROXY_CLIENTS names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.serving.clients import Clients, found_clients
from tools.serving.server import Serving

SCRIPTS = Path(__file__).parent


@pytest.fixture(scope="session")
def serving() -> Iterator[Serving]:
    """`edgeproxy serve factbook`, in a process of its own."""
    with Serving("factbook") as server:
        yield server


@pytest.fixture(scope="session")
def clients(clients_folder: Path) -> Clients:
    """Other programs' clients, each as pinned."""
    return found_clients(clients_folder)
