"""What the models have read, in files: a system message for every chat that begins with it, and a
conversation for the day that it goes on."""

from __future__ import annotations

from edgeproxy.session.prompt_cache.kept import keep_read, put_back
from edgeproxy.session.prompt_cache.prefix import Cached, cache_prompt, opening

__all__ = ["Cached", "cache_prompt", "keep_read", "opening", "put_back"]
