"""`edgeproxy sessions`: conversations that were kept, listed, shown, searched, exported, removed.

May touch: the history of conversations, and the files of what models have read of them; the file
that an export is written to.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.input import only_text
from edgeproxy.cli.ui.options import json_option
from edgeproxy.cli.ui.output import columns, say, write, write_json, write_lines, write_marked
from edgeproxy.cli.ui.removing import agrees_to_remove, yes_option
from edgeproxy.cli.ui.sessions_shown import HEAD, SPEAKERS, day, heading_of, row_of
from edgeproxy.errors import HistoryError, UsageError

if TYPE_CHECKING:
    from edgeproxy.history.history import History
    from edgeproxy.history.records import Hit, Loaded, SessionInfo

_LISTED = 20
"""So many sessions are listed, unless more are asked for."""


@click.group(
    "sessions",
    short_help="Conversations that were kept: list, show, search, export, remove.",
    epilog="""\b
Examples:
  edgeproxy sessions ls
  edgeproxy sessions search notice period
  edgeproxy sessions export letters --format markdown -o letters.md""",
)
def command() -> None:
    """Look at the conversations of edgeproxy chat, which are kept by themselves.

    A session is called by its name, by its id, or by the beginning of either. All are in one file
    in this user's data folder, and nothing of them leaves this machine.
    """


@command.command(
    "ls",
    epilog="""\b
Examples:
  edgeproxy sessions ls
  edgeproxy sessions ls --trio factbook --all --json""",
)
@click.option("--trio", metavar="TRIO", help="Only those with this trio.")
@click.option(
    "--count",
    type=click.IntRange(1),
    default=_LISTED,
    show_default=True,
    metavar="N",
    help="Sessions at most.",
)
@click.option("--all", "all_of_them", is_flag=True, help="However many there are.")
@json_option
def ls(trio: str | None, count: int, all_of_them: bool, as_json: bool) -> None:
    """List the sessions, those that were changed last above."""
    from edgeproxy.history.export import session_as_json

    with _history() as history:
        found = history.sessions(None if all_of_them else count + 1, trio)
    shown = found if all_of_them else found[:count]
    if as_json:
        write_json({"sessions": [session_as_json(session) for session in shown]}, indent=2)
        return
    if not found:
        which = "yet" if trio is None else f"with the trio {trio!r}"
        say(f"there are no sessions {which}; edgeproxy chat begins one")
        return
    write_lines(columns([HEAD, *map(row_of, shown)]))
    if len(found) > len(shown):
        say("there are older ones; --all lists them")


@command.command(
    "show",
    epilog="""\b
Examples:
  edgeproxy sessions show letters
  edgeproxy sessions show k3f9b --json""",
)
@click.argument("name", metavar="NAME")
@json_option
def show(name: str, as_json: bool) -> None:
    """Print the conversation called NAME, or with that id.

    What was left behind by editing or by another reply is not shown; export has all of it.
    """
    from edgeproxy.history.export import entry_as_json, session_as_json

    with _history() as history:
        loaded = history.load(history.find(name).id)
    if as_json:
        content = session_as_json(loaded.session)
        write_json(content | {"messages": [entry_as_json(e) for e in loaded.entries]}, indent=2)
        return
    for line in _shown(loaded):
        write(line)


@command.command(
    "export",
    epilog="""\b
Examples:
  edgeproxy sessions export letters -o letters.json
  edgeproxy sessions export letters --format markdown""",
)
@click.argument("name", metavar="NAME")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["json", "markdown"]),
    default="json",
    show_default=True,
    help="json has every branch with its settings, markdown the conversation alone.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A new file, for its owner alone. [default: standard output]",
)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def export(name: str, kind: str, output: Path | None, force: bool) -> None:
    """Write the session called NAME to a file, or to standard output."""
    from edgeproxy.history.export import json_bytes, markdown, tree_as_json

    with _history() as history:
        session = history.find(name).id
        if kind == "json":
            data = json_bytes(tree_as_json(*history.tree(session)))
        else:
            data = markdown(history.load(session)).encode("utf-8", "replace")
    if output is None:
        write(data.decode("utf-8"))
        return
    _write_file(output, data, force)
    say(f"written to {output}")


@command.command(
    "search",
    epilog="""\b
Examples:
  edgeproxy sessions search notice period
  edgeproxy sessions search Mongolia --count 3 --json""",
)
@click.argument("words", nargs=-1, required=True, metavar="WORDS...", callback=only_text)
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=_LISTED,
    show_default=True,
    metavar="N",
    help="Messages at most.",
)
@json_option
def search(words: tuple[str, ...], count: int, as_json: bool) -> None:
    """Find the messages that hold all WORDS, or words that begin with them; the newest first."""
    with _history() as history:
        hits = history.search(" ".join(words), count)
    if as_json:
        write_json({"words": " ".join(words), "hits": list(map(_hit_as_json, hits))}, indent=2)
        return
    for hit in hits:
        write_lines([heading_of(hit)])
        write(f"  {SPEAKERS[hit.entry.said.role]}: ")
        write_marked(hit.excerpt, hit.spans)
        write("\n")
    if not hits:
        say("nothing was found")


@command.command(
    "rm",
    epilog="""\b
Examples:
  edgeproxy sessions rm k3f9b
  edgeproxy sessions rm letters drafts --yes""",
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@yes_option
@json_option
def rm(names: tuple[str, ...], yes: bool, as_json: bool) -> int | None:
    """Remove each session NAME with all its branches; nothing of it stays in the file."""
    from edgeproxy.history.states import States

    with _history() as history:
        chosen = {s.id: s for s in (history.find(name) for name in names)}
        if not yes and not agrees_to_remove(map(_in_words, chosen.values())):
            return 1
        states = States()
        for session in chosen:
            history.remove(session)
            try:
                states.remove(session)
            except OSError as error:
                raise HistoryError(f"{states.path(session)}: {error.strerror}") from None
    if as_json:
        write_json({"removed": list(chosen)}, indent=2)
    else:
        write_lines([f"removed {', '.join(map(_in_words, chosen.values()))}"])
    return None


def _history() -> History:
    from edgeproxy.history.history import History

    return History.open()


def _shown(loaded: Loaded) -> Iterator[str]:
    """A conversation to be read, a piece for each message, safe also for who pipes it on."""
    from edgeproxy.history.export import NOTES

    session = loaded.session
    yield f"{_line(session.label)}\n{session.id}, {_line(session.trio)}, {day(session.created)}\n"
    for entry in loaded.entries:
        said = entry.said
        yield f"\n{SPEAKERS[said.role]}:\n{_safe(said.text).rstrip()}\n"
        if said.finish_reason in NOTES:
            yield f"({NOTES[said.finish_reason]})\n"
    if loaded.unanswered is not None:
        yield "\n(there is no reply to this)\n"
    if session.messages > len([e for e in loaded.entries if e.said.role != "system"]):
        yield "\n(there are other branches; edgeproxy sessions export has them)\n"


def _safe(text: str) -> str:
    from edgeproxy.documents.cleaning import clean

    return clean(text)


def _line(text: str) -> str:
    from edgeproxy.documents.cleaning import one_line

    return one_line(text)


def _hit_as_json(hit: Hit) -> dict[str, Any]:
    from edgeproxy.history.export import entry_as_json, session_as_json

    return {
        "session": session_as_json(hit.session),
        "message": entry_as_json(hit.entry),
        "excerpt": hit.excerpt,
        "spans": [list(span) for span in hit.spans],
    }


def _in_words(session: SessionInfo) -> str:
    return f"{session.id} ({_line(session.label)}; {session.messages:,} messages)"


def _write_file(path: Path, data: bytes, force: bool) -> None:
    """A file of `data`, whole or not at all. Raises `UsageError`."""
    from edgeproxy.files import reason, replacing

    try:
        there, is_file = path.exists(), path.is_file()
        if not there or (is_file and force):
            with replacing(path, private=True) as file:
                file.write(data)
            return
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {reason(error)}; check the path") from None
    what = "it is there already; --force replaces it" if is_file else "it is no regular file"
    raise UsageError(f"{path}: {what}, or name another one")
