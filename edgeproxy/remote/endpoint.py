"""Where a base on a server is, and how it is spoken to, as a person says it.

A key is never part of it: `key_env` names the environment variable, or `key_file` the file, that
holds one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict, get_args

from edgeproxy.core.check import number, one_of, whole
from edgeproxy.errors import UsageError
from edgeproxy.remote.address import parse_address
from edgeproxy.remote.predicts import Way

Protocol = Literal["llama-server", "openai"]
"""What a server speaks: llama-server's own /completion, or OpenAI's /v1/completions."""

KEY_PREFIX = "EDGEPROXY_"
"""Of the variables that a manifest may name: it cannot send another program's key anywhere."""

MANIFEST_KEYS = rf"{KEY_PREFIX}\w{{1,64}}"
"""The names of these variables."""


NEEDS_TOKENIZER = (
    "name a GGUF file here with the vocabulary of the server's model, such as a small model of the "
    "same family; no weights are read of it"
)
"""What is to be done where nobody says which tokenizer a server's model has."""


class ServerChange(TypedDict, total=False):
    """Some fields of an `Endpoint`; None leaves one as it is."""

    url: str | None
    model: str | None
    protocol: Protocol | None
    way: Way | None
    logprobs: int | None
    context: int | None
    timeout: float | None
    key_env: str | None
    key_file: Path | None
    allow_http: bool | None


@dataclass(frozen=True)
class Endpoint:
    """A server and what is asked of it. Raises `UsageError` for impossible values.

    `url` is the server's address without a path of the protocol, such as `http://127.0.0.1:8080`.
    `model` is what the server calls the model, where it serves several. `protocol` and `way` are
    found out where they are None. `logprobs` is how many log-probabilities of a row are asked for
    first, `context` how many tokens the server's context has, where it does not say, `timeout` how
    many seconds one answer may take, such as the first of a long prompt on a slow server.
    `price_in` and `price_out` are money for a million tokens that it reads and writes, in a
    person's own currency. `allow_http` allows plain HTTP to another machine.
    """

    url: str
    model: str = ""
    protocol: Protocol | None = None
    way: Way | None = None
    logprobs: int | None = None
    context: int | None = None
    timeout: float = 60.0
    key_env: str | None = None
    key_file: Path | None = None
    allow_http: bool = False
    price_in: float = 0.0
    price_out: float = 0.0

    @property
    def root(self) -> str:
        """The address, without the /v1 that people know OpenAI's protocol by."""
        return self.url.rstrip("/").removesuffix("/v1")

    @property
    def has_prices(self) -> bool:
        """Whether what it costs is known."""
        return self.price_in > 0.0 or self.price_out > 0.0

    def __post_init__(self) -> None:
        parse_address(self.url, allow_http=True)
        if self.protocol is not None:
            one_of("protocol", self.protocol, get_args(Protocol))
        if self.way is not None:
            one_of("way", self.way, get_args(Way))
        if self.logprobs is not None:
            whole("logprobs", self.logprobs, 1, 10_000_000)
        if self.context is not None:
            whole("context", self.context, 2, 100_000_000)
        number("timeout", self.timeout, 0.1, 86_400.0)
        if not isinstance(self.model, str):
            raise UsageError(f"model must be the name of a model, not {self.model!r}")
        if self.key_env is not None and not _is_variable(self.key_env):
            raise UsageError(f"key_env must name an environment variable, not {self.key_env!r}")
        if not isinstance(self.key_file, Path | None):
            raise UsageError(f"key_file must be a Path, not {self.key_file!r}")
        if self.key_env is not None and self.key_file is not None:
            raise UsageError("name either a variable or a file that holds the server's key")
        number("price_in", self.price_in, 0.0, 1e6)
        number("price_out", self.price_out, 0.0, 1e6)

    @property
    def key_of_manifests(self) -> str | None:
        """`key_env` where a manifest may name it; None where it is for a person to give again."""
        name = self.key_env
        return name if name and re.fullmatch(MANIFEST_KEYS, name, re.ASCII) else None


def _is_variable(name: object) -> bool:
    return isinstance(name, str) and bool(re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII))
