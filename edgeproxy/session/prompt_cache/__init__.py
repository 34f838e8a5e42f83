"""A system message read once and kept in a file: what every chat that begins with it has read."""

from __future__ import annotations

from edgeproxy.session.prompt_cache.prefix import Cached, cache_prompt, opening

__all__ = ["Cached", "cache_prompt", "opening"]
