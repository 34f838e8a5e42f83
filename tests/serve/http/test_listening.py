"""Ports and sockets: whose they are, what is in the way, and what is left behind."""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from edgeproxy.errors import EdgeproxyError, UsageError
from edgeproxy.serve.http.figures import figure, figure_by, written
from edgeproxy.serve.http.limits import Limits
from edgeproxy.serve.http.listening import at_path, at_port, is_loopback

needs_sockets = pytest.mark.skipif(
    sys.platform == "win32", reason="Python has no UNIX sockets on Windows"
)


def test_a_free_port_is_found() -> None:
    with at_port("127.0.0.1", 0) as found:
        assert found.address == f"http://127.0.0.1:{found.port}"
        socket.create_connection(("127.0.0.1", found.port or 0)).close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", found.port or 0))


def test_a_taken_port_is_said() -> None:
    with (
        at_port("127.0.0.1", 0) as taken,
        pytest.raises(EdgeproxyError, match="taken by another program"),
    ):
        at_port("127.0.0.1", taken.port or 0).__enter__()
    with at_port("127.0.0.1", taken.port or 0):
        pass  # at once again


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a b", "x" * 300, "300.1.1.1"])
def test_a_host_that_there_is_not_is_said(host: str) -> None:
    with pytest.raises(UsageError, match="there is no host"):
        at_port(host, 0).__enter__()


def test_an_address_of_another_machine_is_said() -> None:
    with pytest.raises(UsageError, match="no address of this machine"):
        at_port("192.0.2.1", 0).__enter__()


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.1", False),
        ("box.example", False),
    ],
)
def test_loopback_is_known(host: str, is_own: bool) -> None:
    assert is_loopback(host) is is_own


@needs_sockets
def test_a_socket_is_its_owners_alone_and_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with at_path(path) as found:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (found.port, found.path, found.address) == (None, path, "http://localhost")
    assert not path.exists()


@needs_sockets
def test_a_socket_that_nobody_answers_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with at_path(path):
        socket.socket(socket.AF_UNIX).close()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


@needs_sockets
def test_a_socket_that_is_answered_stays(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with at_path(path):
        with pytest.raises(EdgeproxyError, match="another server answers"):
            at_path(path).__enter__()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


@needs_sockets
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_stays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nothing")
    with pytest.raises(EdgeproxyError, match="no socket"):
        at_path(path).__enter__()
    assert path.is_symlink() or path.exists()


@needs_sockets
def test_a_socket_of_another_server_is_not_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with at_path(path):
        path.rename(tmp_path / "old")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    assert path.exists()


@needs_sockets
def test_a_later_socket_with_the_number_of_an_earlier_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with at_path(path) as found:
        number = path.stat().st_ino
        found.socket.close()  # as a server does that ends, which gives the number back
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
        os.utime(path, ns=(1, 1))
        same = path.stat().st_ino == number
    assert path.exists(), f"the number was {'the same' if same else 'another one'}"


@needs_sockets
def test_two_that_replace_one_socket_are_not_both_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, unlink = tmp_path / "s", Path.unlink
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with ExitStack() as servers:
        errors: list[EdgeproxyError] = []

        def begin() -> None:
            try:
                servers.enter_context(at_path(path))
            except EdgeproxyError as error:
                errors.append(error)

        second = threading.Thread(target=begin)

        def unlink_late(gone: Path, missing_ok: bool = False) -> None:
            # The second begins when the first has found that nobody answers, and has it so far.
            monkeypatch.setattr(Path, "unlink", unlink)
            second.start()
            second.join(0.3)
            unlink(gone, missing_ok)

        monkeypatch.setattr(Path, "unlink", unlink_late)
        begin()
        second.join()
        assert ["another server answers" in str(each) for each in errors] == [True]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


@needs_sockets
def test_a_folder_that_somebody_has_locked_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    monkeypatch.setattr("edgeproxy.serve.http.listening._LOCK_SECONDS", 0.1)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with pytest.raises(EdgeproxyError, match="locked by another program"):
            at_path(tmp_path / "s").__enter__()
    finally:
        os.close(folder)
    with at_path(tmp_path / "s"):
        pass


@needs_sockets
@pytest.mark.parametrize("name", ["x" * 200, "no/folder/s", "a\0b"])
def test_a_path_that_cannot_be_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(EdgeproxyError):
        at_path(tmp_path / name).__enter__()


@pytest.mark.parametrize(
    "change",
    [{"body": 0}, {"body": 1 << 40}, {"depth": 0}, {"head_seconds": 0.0}, {"beat_seconds": -1.0},
     {"connections": 0}, {"body_seconds": float("nan")}],
)  # fmt: skip
def test_impossible_limits_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Limits(**change)  # type: ignore[arg-type]


def test_figures_are_written_as_prometheus_reads_them() -> None:
    found = written(
        [
            figure("a_total", "What it is.", "counter", 3),
            figure_by("b", "By word.", "gauge", "word", {'x"\\\n': 0.5, "y": 1_000_000}),
        ]
    )
    assert found == (
        b"# HELP edgeproxy_a_total What it is.\n# TYPE edgeproxy_a_total counter\n"
        b"edgeproxy_a_total 3\n"
        b"# HELP edgeproxy_b By word.\n# TYPE edgeproxy_b gauge\n"
        b'edgeproxy_b{word="x\\"\\\\\\n"} 0.5\nedgeproxy_b{word="y"} 1000000\n'
    )
