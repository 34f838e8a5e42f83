"""The key that clients of a server must know: given, minted, or none.

May touch: environment variables, read only.
"""

from __future__ import annotations

import os
import secrets
from typing import NamedTuple

from edgeproxy.errors import UsageError

KEY_VARIABLE = "EDGEPROXY_API_KEY"
_KEY_BYTES = 24


class Key(NamedTuple):
    """A key, None where everybody may ask, and whether it was made for this start."""

    value: str | None
    is_minted: bool


def chosen_key(given: str | None, variable: str | None, no_key: bool, is_private: bool) -> Key:
    """The key by --key, --key-env and --no-key, else by EDGEPROXY_API_KEY, else a new one.

    Without `is_private` other machines reach the server. Raises `UsageError`, which tells no key.
    """
    flags = {"--key": given is not None, "--key-env": variable is not None, "--no-key": no_key}
    chosen = [name for name, is_given in flags.items() if is_given]
    if len(chosen) > 1:
        raise UsageError(f"{chosen[0]} and {chosen[1]} do not go together; leave one out")
    if no_key:
        if not is_private:
            raise UsageError(
                "--no-key is for this machine alone: leave it out, or listen at 127.0.0.1 or at a "
                "--socket"
            )
        return Key(None, False)
    if given is not None:
        return Key(_checked(given, "--key"), False)
    name = variable or KEY_VARIABLE
    found = os.environ.get(name)
    if found is not None:
        return Key(_checked(found, f"the environment variable {name}"), False)
    if variable is not None:
        raise UsageError(f"the environment variable {variable} (--key-env) is not set")
    return Key(secrets.token_urlsafe(_KEY_BYTES), True)


def _checked(key: str, where: str) -> str:
    from edgeproxy.serve.http.guards import check_key

    try:
        return check_key(key)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
