"""What the models have read of a conversation, kept in a file and put back later.

Unlike a prompt cache it reads nothing that was not read already: a file that does not fit is none.

May touch: the file (see `statefile`).
"""

from __future__ import annotations

from pathlib import Path

from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.session.prompt_cache.statefile import Progress, Unfit, load, save


def keep_read(
    path: Path,
    trio: Trio,
    prompt: RoleTokens,
    progress: Progress | None = None,
    most: int | None = None,
) -> int:
    """Keep what `trio` has read of `prompt` in the file at `path`; how many of the base's tokens.

    The trio forgets what it has read that is not of `prompt`. Nothing is kept, and the file stays
    as it was, where a role has read nothing of it, or where it would take over `most` bytes.
    Raises `OSError`, `UsageError` as `statefile.check_path`, and `EngineError`.
    """
    rest = trio.resume(prompt)
    read = RoleTokens(*(p[: len(p) - len(r)] for p, r in zip(prompt, rest, strict=True)))
    if not all(read):
        return 0
    origins = [dict(model.origin()) for model in trio.saving]
    try:
        save(path, trio, origins, read, progress or _in_silence, most)
    except Unfit:
        return 0
    return len(read.base)


def put_back(path: Path, trio: Trio, progress: Progress | None = None) -> int:
    """Have the trio hold what the file at `path` keeps; how many of the base's tokens.

    0 where there is no file, or where it is damaged or of other models: then the trio holds nothing
    of it. Raises `UsageError` where `path` is something else.
    """
    origins = [dict(model.origin()) for model in trio.saving]
    try:
        held = load(path, trio, origins, progress or _in_silence)
    except Unfit:
        return 0
    return len(held.base) if held is not None else 0


def _in_silence(_what: str, _share: float) -> None:
    pass
