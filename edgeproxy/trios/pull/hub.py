"""What a hub says of a file, and its bytes, by way of `huggingface_hub`; nothing else imports it.

May touch: the network, and the hub's cache, read only. Endpoint, token, cache and timeouts are
those of the environment variables that `huggingface_hub` reads when it is imported.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from edgeproxy import __version__
from edgeproxy.errors import HubError, UsageError
from edgeproxy.trios.address import host, without_login
from edgeproxy.trios.manifest import Source

# Or it would ask the hub, and tell it, more than is needed to fetch a file.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

try:
    import huggingface_hub as hf
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]
except ValueError as error:
    raise UsageError(
        f"an environment variable of huggingface_hub has an impossible value: {error}"
    ) from None

# The client has another name in other versions of huggingface_hub; what is used of it has not.
_http: Any = sys.modules[HfHubHTTPError.__bases__[0].__module__]

_AGENT: dict[str, Any] = {"library_name": "edgeproxy", "library_version": __version__}
_BUSY = (408, 429)
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Trouble(Exception):
    """What may go better the next time, after `wait` seconds if the hub named any."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass(frozen=True)
class Remote:
    """What the hub says that a file is; its `sha256` is None where the hub does not know it."""

    size: int
    sha256: str | None


class Hub:
    """The hub that the environment names; `endpoint` is its address as messages may show it."""

    def __init__(self) -> None:
        self.endpoint = without_login(constants.ENDPOINT)
        self.offline = bool(constants.HF_HUB_OFFLINE)
        self._reached = False

    def look(self, source: Source) -> Remote:
        """Ask what a file is, without fetching it.

        Raises `HubError` where the hub refuses or is out of reach, `Trouble` where it is busy.
        """
        with self._asking(source):
            found = hf.get_hf_file_metadata(_url(source), **_AGENT)
            self._reached = True
        if found.size is None or (found.commit_hash or source.revision) != source.revision:
            raise HubError(
                f"{source.file}: {self.endpoint} does not answer as a hub does; check HF_ENDPOINT"
            )
        known = found.etag or ""
        return Remote(found.size, known if _SHA256.fullmatch(known) else None)

    def cached(self, source: Source) -> Path | None:
        """The file in the hub's own cache, where others have downloaded it; its hash unchecked."""
        found = hf.try_to_load_from_cache(source.repo, source.file, revision=source.revision)
        return Path(found) if isinstance(found, str) else None

    @contextlib.contextmanager
    def stream(self, source: Source, start: int, etag: str | None) -> Iterator[Any]:
        """The hub's answer with the bytes from `start` on, or with all of them: see its status.

        `etag` is of an earlier answer: where the file is another by now, all of it comes. The token
        stays with the hub when it sends us elsewhere. Raises as `look` does, also for what goes
        wrong while the answer is read.
        """
        with self._asking(source):
            headers = {**build_hf_headers(**_AGENT), "Accept-Encoding": "identity"}
            if start:
                headers["Range"] = f"bytes={start}-"
                headers |= {"If-Range": etag} if etag else {}
            with hf.get_session().stream(
                "GET",
                _url(source),
                headers=headers,
                timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                follow_redirects=True,
            ) as answer:
                self._reached = True
                if answer.status_code not in (200, 206):
                    raise self._refusal(answer, source)
                yield answer

    @contextlib.contextmanager
    def _asking(self, source: Source) -> Iterator[None]:
        """Turn what `huggingface_hub` and its client raise into `HubError` and `Trouble`."""
        try:
            yield
        except OfflineModeIsEnabled:
            raise self.is_offline(source.file) from None
        except HfHubHTTPError as error:
            self._reached = True
            raise self._refusal(error.response, source) from None
        except (_http.UnsupportedProtocol, _http.InvalidURL, _http.TooManyRedirects) as error:
            why = without_login(str(error))
            raise HubError(f"{self.endpoint}: {why}; check HF_ENDPOINT") from None
        except (_http.LocalProtocolError, UnicodeError):
            raise HubError("the hub's token has impossible characters; check HF_TOKEN") from None
        except _http.HTTPError as error:
            why = without_login(str(error)) or type(error).__name__
            if self._reached:
                raise Trouble(why) from None
            raise HubError(
                f"{source.file}: {self.endpoint} cannot be reached ({why}); without a network, a "
                "bundle brings a trio: edgeproxy bundle --help"
            ) from None

    def is_offline(self, file: str) -> HubError:
        """The error for a file that only the network has, where that is switched off."""
        return HubError(
            f"{file}: it is neither installed nor in the hub's cache, and HF_HUB_OFFLINE forbids "
            "to fetch it; unset that, or bring a bundle: edgeproxy bundle --help"
        )

    def _refusal(self, answer: Any, source: Source) -> HubError | Trouble:
        status, page = answer.status_code, f"{self.endpoint}/{source.repo}"
        asked = host(str(answer.url))
        if status in _BUSY or status >= 500:
            return Trouble(f"{asked} answers {status}", _asked_wait(answer.headers))
        if asked != host(self.endpoint) and status in (401, 403, 404, 410):
            return Trouble(f"{asked} answers {status}")  # a signed address that is too old
        code = answer.headers.get("X-Error-Code", "")
        repo, token = source.repo, "HF_TOKEN or `hf auth login`"
        match status, code:
            case 401 | 403, "GatedRepo" if _has_token():
                return HubError(
                    f"{repo}: your token has no access to it; accept its licence at {page} with "
                    "the account that the token belongs to"
                )
            case 401 | 403, "GatedRepo":
                return HubError(
                    f"{repo}: it is given only to those who accept its licence; do so at {page}, "
                    f"then name a token of yours by {token}"
                )
            case 401 | 403, _ if _has_token():
                return HubError(
                    f"{repo}: the hub refuses your token ({status}); check {token}, and that "
                    f"{page} opens for you"
                )
            case 401 | 403, _:
                return HubError(
                    f"{repo}: there is no such repository, or it is private; check the name, or "
                    f"name a token by {token}"
                )
            case 404, "RevisionNotFound":
                return HubError(f"{repo}: it has no commit {source.revision}; see {page}/commits")
            case 404, "EntryNotFound":
                where = f"{page}/tree/{source.revision}"
                return HubError(f"{repo}: it has no file {source.file} there; see {where}")
            case 404, _:
                return HubError(f"{repo}: there is no such repository at {self.endpoint}")
            case 416, _:
                return HubError(
                    f"{source.file}: what the hub has is shorter than it should be; another file "
                    "has taken its place"
                )
        return HubError(f"{source.file}: {asked} answers {status}, which cannot be used")


def _url(source: Source) -> str:
    return hf.hf_hub_url(source.repo, source.file, revision=source.revision)


def _has_token() -> bool:
    return "authorization" in build_hf_headers(**_AGENT)


def _asked_wait(headers: Any) -> float | None:
    """The seconds that a busy hub asks to be left alone for, if it says."""
    after = headers.get("Retry-After", "").strip()
    if after.isdecimal():
        return float(after)
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    reset = re.search(r";\s*t=(\d{1,9})", headers.get("RateLimit", ""))
    return float(reset[1]) if reset else None
