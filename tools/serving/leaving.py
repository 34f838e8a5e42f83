"""How soon the models are free for others when a client vanishes."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from edgeproxy.errors import EdgeproxyError
from tools.serving.server import Serving

BAR = 0.2
"""Seconds."""

MOMENTS = ("while its prompt is read", "amid its stream", "in a plain call", "while it waits")
_TIMEOUT = 600.0
_GIVE_UP = 60.0
_PAUSE = 0.002
_LONG = "Tell me about the mountains, rivers, lakes and borders of Mongolia, Chad and Peru. "
_PLAIN_AFTER = 0.15
_MOST_TOKENS = 900


def gauge(http: Any, name: str) -> float:
    """One of the server's figures."""
    for line in http.get("/metrics").text.splitlines():
        if line.startswith(f"edgeproxy_{name} "):
            return float(line.split()[1])
    raise EdgeproxyError(f"the server's /metrics lacks {name}")


def wait_until(http: Any, name: str, wanted: float) -> float:
    """Wait until a figure is so; the seconds that it took. Raises `EdgeproxyError`."""
    began = time.perf_counter()
    while gauge(http, name) != wanted:
        if time.perf_counter() - began > _GIVE_UP:
            raise EdgeproxyError(f"{name} did not become {wanted:g} in {_GIVE_UP:.0f} s")
        time.sleep(_PAUSE)
    return time.perf_counter() - began


def leave(serving: Serving, http: Any, moment: str, number: int, tokens: int) -> float:
    """The seconds from a client's end to models that are free, or a queue that is empty."""
    import httpx

    question = f"{number}: {_LONG * max(1, tokens // 24)}" if "prompt" in moment else _LONG
    body: dict[str, Any] = {
        "model": serving.ready["trio"],
        "messages": [{"role": "user", "content": question}],
        "max_tokens": _MOST_TOKENS,
        "stream": "plain" not in moment,
        "alpha": 0,  # the base's likeliest words by themselves do not come to an end
        "temperature": 0,
    }
    if body["stream"]:
        body["return_progress"] = True
    with httpx.Client(base_url=serving.url, headers=serving.headers, timeout=_TIMEOUT) as client:
        if "waits" in moment:
            with client.stream("POST", "/v1/chat/completions", json=body) as first:
                coming = first.iter_raw()  # kept, for one that is dropped ends the connection
                next(coming)
                with connected(serving, body):
                    wait_until(http, "requests_waiting", 1)
                return wait_until(http, "requests_waiting", 0)
        if not body["stream"]:
            client.timeout = httpx.Timeout(_PLAIN_AFTER)
            try:
                client.post("/v1/chat/completions", json=body)
            except httpx.TimeoutException:
                client.close()
                return wait_until(http, "requests_answering", 0)
            raise EdgeproxyError("a plain call ended before its client could leave")
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: ") and _has_come(json.loads(line[6:]), moment):
                    break
    return wait_until(http, "requests_answering", 0)


def connected(serving: Serving, body: dict[str, Any]) -> socket.socket:
    """A connection over which a request was sent, and nothing is read."""
    where = urlsplit(serving.url)
    data = json.dumps(body)
    head = {**serving.headers, "Host": where.netloc, "Content-Type": "application/json"}
    lines = [f"{name}: {value}" for name, value in head.items()]
    lines += [f"Content-Length: {len(data)}", "", data]
    made = socket.create_connection((where.hostname, where.port or 80))
    made.sendall("\r\n".join(["POST /v1/chat/completions HTTP/1.1", *lines]).encode())
    return made


def _has_come(said: dict[str, Any], moment: str) -> bool:
    if "error" in said:
        raise EdgeproxyError(said["error"]["message"])
    progress = said.get("prompt_progress")
    if "prompt" in moment:
        return bool(progress and progress["total"] > progress["processed"])
    return any(choice["delta"].get("content") for choice in said["choices"])


def measure(trio: str, repeats: int, tokens: int, told: Callable[[str], None]) -> dict[str, Any]:
    """Seconds for each moment of leaving; prompts that are left are `tokens` long, about."""
    import httpx

    found: dict[str, list[float]] = {moment: [] for moment in MOMENTS}
    with (
        Serving(trio) as serving,
        httpx.Client(base_url=serving.url, headers=serving.headers, timeout=_TIMEOUT) as http,
    ):
        for number in range(repeats):
            told(f"round {number} of {repeats}")
            for moment, seconds in found.items():
                seconds.append(leave(serving, http, moment, number, tokens))
                wait_until(http, "requests_answering", 0)
    return {"trio": trio, "seconds": found}


def as_text(found: dict[str, Any]) -> str:
    """The same for a person."""
    lines = [f"from a client's end to models that are free, in ms (bar {1000 * BAR:.0f})"]
    for moment, seconds in found["seconds"].items():
        middle, most = 1000 * median(seconds), 1000 * max(seconds)
        lines.append(f"{moment:26} median {middle:6.0f}   longest {most:6.0f}")
    return "\n".join(lines)
