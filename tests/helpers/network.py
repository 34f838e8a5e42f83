"""Commands in a network namespace without interfaces: where a connection cannot even be tried."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

import pytest

# Root may have a namespace of its own; others may where they are root in one of users, too.
_WAYS = (["unshare", "-n"], ["unshare", "-rn"])
_PROBE = """
import errno, socket
names = [name for _, name in socket.if_nameindex()]
assert names in ([], ["lo"]), names
try:
    socket.create_connection(("127.0.0.1", 9), 5)
except OSError as error:
    assert error.errno == errno.ENETUNREACH, error
else:
    raise AssertionError("a connection was made")
"""


@cache
def without_network() -> tuple[str, ...]:
    """What to put before a command so that it has no network at all; tried, not assumed.

    Fails the test where Linux does not let us and CI asked; skips it on other systems.
    """
    said = []
    for way in _WAYS if sys.platform == "linux" else ():
        try:
            command = [*way, sys.executable, "-c", _PROBE]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except FileNotFoundError:
            said.append("there is no unshare; it is in the package util-linux")
            continue
        if done.returncode == 0:
            return tuple(way)
        said.append(f"{' '.join(way)}: {done.stderr.strip()}")
    missing = f"no network namespace can be made here: {'; '.join(said) or sys.platform}"
    if os.environ.get("CI") and sys.platform == "linux":
        pytest.fail(missing)
    pytest.skip(missing)
