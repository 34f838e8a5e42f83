"""A hub of model files on this machine: what the real one answers, on two ports, and its troubles.

The hub proper answers HEAD and GET of `/ORG/NAME/resolve/REVISION/FILE` with metadata headers and a
redirect to the second port, which serves the bytes, as the real hub's CDN does. All that is asked
and all that is sent is recorded. Trouble is queued: each request takes the next `Twist` of its
queue, if there is one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

REVISION = "0123456789abcdef0123456789abcdef01234567"
_CHUNK = 1 << 16


@dataclass
class HubFile:
    """A file of a repository. The hub names it by its sha256 unless `etag` says otherwise."""

    data: bytes
    etag: str = ""
    linked: bool = True

    def __post_init__(self) -> None:
        self.etag = self.etag or hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Twist:
    """What is different about one answer. `cut` ends the connection after so many bytes."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes | None = None
    etag: str = ""
    cut: int | None = None
    length: int | None = None
    ignores_range: bool = False
    stall: float = 0.0


@dataclass(frozen=True)
class Asked:
    """A request that came in: at "hub" or "cdn"."""

    place: str
    method: str
    path: str
    headers: Mapping[str, str]


class Hub:
    """Both servers, running until `close`. `rate` is in bytes a second, 0 is as fast as can be."""

    def __init__(self, rate: float = 0.0) -> None:
        self.files: dict[tuple[str, str], HubFile] = {}
        self.gated: dict[str, set[str]] = {}
        self.tokens: set[str] = {"hf_good", "hf_stranger"}
        self.moved: dict[str, str] = {}
        self.asked: list[Asked] = []
        self.sent = 0
        self.rate = rate
        self.twists: defaultdict[tuple[str, str], deque[Twist]] = defaultdict(deque)
        self.watch: Callable[[int], None] | None = None
        self.lock = threading.Lock()
        self._servers = [_Server(self, _HubHandler), _Server(self, _CdnHandler)]
        self.endpoint, self.cdn = (f"http://127.0.0.1:{s.server_port}" for s in self._servers)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def add(self, repo: str, path: str, data: bytes, **how: object) -> str:
        """Put a file into a repository; its sha256."""
        self.files[repo, path] = HubFile(data, **how)  # type: ignore[arg-type]
        return hashlib.sha256(data).hexdigest()

    def twist(self, place: str, method: str, *twists: Twist) -> None:
        """Queue trouble for the next requests of `method` at `place`, "hub" or "cdn"."""
        self.twists[place, method].extend(twists)

    def calm(self) -> None:
        """Forget queued trouble, and what was asked and sent."""
        self.twists.clear()
        self.asked.clear()
        self.sent = 0
        self.watch = None

    def gets(self, place: str = "cdn") -> list[Asked]:
        """The GET requests that came to `place`."""
        return [asked for asked in self.asked if (asked.place, asked.method) == (place, "GET")]

    def count(self, n_bytes: int) -> None:
        """Record that so many bytes of files went out."""
        with self.lock:
            self.sent += n_bytes
            total = self.sent
        if self.watch is not None:
            self.watch(total)

    def close(self) -> None:
        """Stop both servers."""
        for server in self._servers:
            server.shutdown()
            server.server_close()


@contextlib.contextmanager
def hub_running(rate: float = 0.0) -> Iterator[Hub]:
    """A `Hub` for the length of a `with` block."""
    hub = Hub(rate)
    try:
        yield hub
    finally:
        hub.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, hub: Hub, handler: type[_Handler]) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", 0), handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    place = ""
    server: _Server

    def setup(self) -> None:
        # A small buffer, so that what was sent is nearly what has arrived.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHUNK)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().setup()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._take()

    def do_GET(self) -> None:
        self._take()

    def _take(self) -> None:
        hub = self.server.hub
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = unquote(urlsplit(self.path).path)
        with hub.lock:
            hub.asked.append(Asked(self.place, self.command, path, headers))
            queue = hub.twists[self.place, self.command]
            twist = queue.popleft() if queue else Twist()
        time.sleep(twist.stall)
        if twist.cut is not None and twist.cut < 0:
            self.close_connection = True
            return
        if twist.status:
            self.answer(twist.status, dict(twist.headers))
        else:
            self.serve(hub, path, twist)

    def serve(self, hub: Hub, path: str, twist: Twist) -> None:
        raise NotImplementedError

    def answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _HubHandler(_Handler):
    """Metadata and redirects, for whoever may have the file."""

    place = "hub"

    def refuse(self, status: int, code: str, message: str) -> None:
        body = json.dumps({"error": message}).encode()
        self.answer(status, {"X-Error-Code": code, "X-Error-Message": message}, body)

    def serve(self, hub: Hub, path: str, twist: Twist) -> None:
        repo, _, rest = path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repo in hub.moved:
            where = f"/{hub.moved[repo]}/resolve/{revision}/{name}"
            return self.answer(307, {"Location": where})
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in hub.tokens:
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        if not any(known == repo for known, _ in hub.files):
            missing = (404, "RepoNotFound", "Repository not found")
            return self.refuse(*missing if token else (401, "RepoNotFound", "Invalid username"))
        if repo in hub.gated and not token:
            return self.refuse(401, "GatedRepo", f"Access to model {repo} is restricted.")
        if repo in hub.gated and token not in hub.gated[repo]:
            return self.refuse(403, "GatedRepo", "you are not in the authorized list")
        if revision != REVISION:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if (repo, name) not in hub.files:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        file = hub.files[repo, name]
        data = file.data if twist.data is None else twist.data
        etag = twist.etag or file.etag
        headers = {
            "X-Repo-Commit": REVISION,
            "Accept-Ranges": "bytes",
            "Location": f"{hub.cdn}/{repo}/{name}?signature=secret",
        }
        if file.linked:
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{etag}"'}
            headers["ETag"] = '"of-the-pointer"'
            return self.answer(302, {**headers, **twist.headers})
        # A small file of git's own, which the hub serves itself and names by git's hash.
        del headers["Location"]
        headers |= {"ETag": f'"{etag}"', "Content-Length": str(len(data)), **twist.headers}
        self.answer(200, headers, b"" if self.command == "HEAD" else data)
        return None


class _CdnHandler(_Handler):
    """The bytes: whole, or from where they were asked for."""

    place = "cdn"

    def serve(self, hub: Hub, path: str, twist: Twist) -> None:
        org, name, path = path.lstrip("/").split("/", 2)
        file = hub.files[f"{org}/{name}", path]
        data = file.data if twist.data is None else twist.data
        etag = f'"{twist.etag or hashlib.md5(data[:_CHUNK]).hexdigest()}"'
        first, status = 0, 200
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "binary/octet-stream"}
        wanted = self.headers.get("Range")
        unchanged = self.headers.get("If-Range", etag) == etag
        if wanted and unchanged and not twist.ignores_range:
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
            if first >= len(data):
                return self.answer(416, {"Content-Range": f"bytes */{len(data)}"})
            status = 206
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        rest = len(data) - first
        headers["Content-Length"] = str(rest if twist.length is None else twist.length)
        self.send_response(status)
        for key, value in {**headers, **twist.headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self._send(hub, memoryview(data)[first:], twist.cut)
        return None

    def _send(self, hub: Hub, data: memoryview, cut: int | None) -> None:
        whole, data = len(data), data if cut is None else data[:cut]
        for place in range(0, len(data), _CHUNK):
            chunk = data[place : place + _CHUNK]
            self.wfile.write(chunk)
            hub.count(len(chunk))
            # Time that was lost is not made up for: that would be a burst.
            time.sleep(len(chunk) / hub.rate if hub.rate else 0.0)
        self.close_connection = len(data) < whole or self.close_connection
