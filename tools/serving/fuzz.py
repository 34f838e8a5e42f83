"""schemathesis asks a server what its own OpenAPI document allows, and much that it does not.

A fault is any status of 500 or more, and an answer that the document does not have. Left out is
/v1/embeddings, which is documented as 501.

May touch: a temporary folder; starts a server and schemathesis.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgeproxy.cli.ui.output import say
from edgeproxy.errors import EdgeproxyError
from tools.serving.clients import Clients
from tools.serving.server import KEY, Serving

MINUTES = 5.0
LONGEST_REPLY = 24
"""Tokens: what is asked for is not how long the models can go on."""

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
)
"""Not "positive_data_acceptance": a schema cannot say that two fields do not go together. Nor
"unsupported_method": what is not JSON is refused before anybody looks whether there is such a path.
"""

LEFT_OUT = "/v1/embeddings"
FAILED = 500
_SECONDS = 60.0

Told = Callable[[str], None]


def measure(trio: str, clients: Clients, minutes: float, told: Told) -> dict[str, Any]:
    """What schemathesis found in so many minutes. Raises `EdgeproxyError` where it found a fault.

    The statuses are as the server itself has counted them.
    """
    with (
        Serving(trio, "--max-tokens", str(LONGEST_REPLY)) as serving,
        TemporaryDirectory() as folder,
    ):
        report = Path(folder) / "report.json"
        command = [
            *(clients.program("schemathesis"), "run", f"{serving.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {KEY}", "--exclude-path", LEFT_OUT),
            *("--checks", ",".join(CHECKS), "--continue-on-failure"),
            *("--max-time", str(round(minutes * _SECONDS)), "--generation-database", "none"),
            *("--report", "json", "--report-json-path", str(report), "--no-color"),
        ]
        said = _run(command, folder, told)
        if not report.is_file():
            raise EdgeproxyError(f"schemathesis has made no report:\n{said}")
        found: dict[str, Any] = json.loads(report.read_text("utf-8"))
        statuses = _statuses(serving)
        is_up = serving.is_up
    faults = [f"{each['title']}: {', '.join(each['operations'])}" for each in found["failures"]]
    faults += [str(each) for each in found["errors"]]
    faults += [f"{count} of {each}" for each, count in statuses.items() if each >= FAILED]
    faults += [] if is_up else ["the server has ended"]
    if faults:
        say(said)
        raise EdgeproxyError(f"{len(faults)} faults: {'; '.join(faults)}")
    return {
        "trio": trio,
        "seconds": found["running_time"],
        "version": found["schemathesis_version"],
        "operations": found["operations"]["tested"],
        "cases": found["test_cases"]["generated"],
        "accepted": _accepted(found["valid_rates"]),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
    }


def _run(command: list[str], folder: str, told: Told) -> str:
    """What a command has written, once it has ended."""
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                told("schemathesis asks")
        except BaseException:
            process.terminate()
            raise
    return "\n".join(lines)


def _statuses(serving: Serving) -> Counter[int]:
    """How many answers of each status the server has given, as its /metrics tells."""
    import httpx

    text = httpx.get(f"{serving.url}/metrics", headers=serving.headers).raise_for_status().text
    found = re.findall(r'^edgeproxy_http_answers_total\{status="(\d+)"\} (\d+)$', text, re.M)
    return Counter({int(status): int(count) for status, count in found})


def _accepted(rates: dict[str, dict[str, dict[str, int]]]) -> dict[str, float]:
    """By operation, which share of what the document allows the server took."""
    found = {}
    for operation, phases in rates.items():
        counts = Counter[str]()
        for phase in phases.values():
            counts.update(phase)
        if total := counts.total():
            found[operation] = counts["accepted"] / total
    return found


def as_text(found: dict[str, Any]) -> str:
    """The same for a person."""
    statuses = ", ".join(f"{count} of {status}" for status, count in found["statuses"].items())
    accepted = "\n".join(f"  {share:4.0%} {name}" for name, share in found["accepted"].items())
    return (
        f"schemathesis {found['version']}, {found['seconds']:.0f} s, {found['operations']} "
        f"operations, {found['cases']} cases: no fault\n"
        f"answers by status: {statuses}\n"
        f"of what the document allows was taken:\n{accepted}"
    )
