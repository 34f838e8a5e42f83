"""Addresses of hubs as they may be shown: without the user's name and password in them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_LOGIN = re.compile(r"(?<=://)[^/\s]*@")


def without_login(text: str) -> str:
    """`text`, with `***` for what stands before the host in its addresses."""
    return _LOGIN.sub("***@", text)


def host(address: str) -> str:
    """The host of an address, and its port where that is given."""
    return urlsplit(address).netloc.rpartition("@")[2]
