"""`edgeproxy chat`: a conversation, line by line, with a person or a pipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeproxy.cli.ui.cache import cache_option, check_cache, fill_cache
from edgeproxy.cli.ui.completing import complete_session
from edgeproxy.cli.ui.input import is_interactive
from edgeproxy.cli.ui.options import (
    Models,
    Reply,
    Wanted,
    cite_option,
    grammar_options,
    model_options,
    reply_options,
    stats_option,
    system_option,
)
from edgeproxy.cli.ui.output import is_terminal, say
from edgeproxy.cli.ui.sources import check_cite

if TYPE_CHECKING:
    from edgeproxy.cli.chatting.talk import Talk
    from edgeproxy.session.overflow import Overflow


@click.command(
    "chat",
    short_help="Talk to a trio.",
    epilog="""\b
Examples:
  edgeproxy chat
  edgeproxy chat --continue
  edgeproxy chat --session letters --alpha 0.5 --temperature 0.7
  edgeproxy chat --base big.gguf --expert chat.gguf --anti-expert raw.gguf
  edgeproxy chat --system "$(cat rules.txt)" --prompt-cache rules.prefix
  printf 'What is the capital of Chad?\\nAnd its currency?\\n' | edgeproxy chat

\b
While it runs: /help tells the commands. Ctrl-C stops a reply, twice leaves; so does Ctrl-D.""",
)
@click.option(
    "--continue",
    "continues",
    is_flag=True,
    help="Go on with the latest conversation; with --trio, with the latest of that trio.",
)
@click.option(
    "--session",
    metavar="NAME",
    shell_complete=complete_session,
    help="Go on with the conversation of this name or id, or begin one of this name. Also what a "
    "pipe says is saved then.",
)
@click.option(
    "--no-save",
    is_flag=True,
    help="Keep nothing of what is said and typed; /save keeps it all the same.",
)
@system_option
@cache_option
@click.option(
    "--overflow",
    type=click.Choice(("error", "trim")),
    default="error",
    show_default=True,
    help="What becomes of a message that does not fit the context: an error, or the oldest turns "
    "are dropped whole to make room. The system message stays.",
)
@click.option(
    "--plain",
    is_flag=True,
    help="Show replies as they are, without styles, and read lines without the line editor.",
)
@model_options()
@reply_options(max_tokens=256)
@grammar_options
@cite_option
@stats_option
def command(
    continues: bool,
    session: str | None,
    no_save: bool,
    system: str | None,
    cache: Path | None,
    overflow: Overflow,
    plain: bool,
    models: Models,
    reply: Reply,
    wanted: Wanted,
    cite: bool,
    stats: bool,
) -> int:
    """Talk to a trio: each line is answered, and the conversation is remembered.

    What is said at a terminal is kept on this machine, to go on with later (--continue) or to be
    found again (edgeproxy sessions). Without a terminal, lines are read from standard input and
    only the replies are printed; they are kept with --session or --continue alone.
    """
    reply.sampling()  # refuses impossible values before the models are loaded
    check_cache(system, cache)
    check_cite(cite, models)
    from edgeproxy.cli.chatting.asked import Settings
    from edgeproxy.cli.chatting.commands import obey
    from edgeproxy.cli.chatting.keeping import keeping_of
    from edgeproxy.cli.chatting.lines import can_edit, line_reader
    from edgeproxy.cli.chatting.loaded import Loaded
    from edgeproxy.cli.chatting.printing import can_render
    from edgeproxy.cli.chatting.resuming import beginning, say_resumed
    from edgeproxy.cli.chatting.talk import Talk

    settings = Settings(reply.max_tokens, reply.given(), overflow=overflow)
    settings.hold(wanted.read(), wanted.json_schema is not None)
    begins = beginning(continues, session, models)
    is_person = is_interactive() or is_terminal(sys.stdin)
    is_kept = not no_save and (is_person or continues or session is not None)
    with Loaded(begins.models) as loaded, keeping_of(loaded.session, is_kept) as keeping:
        cached = fill_cache(loaded.session, system, cache)
        talk = Talk(
            loaded,
            settings,
            system,
            is_interactive=is_interactive(),
            can_render=not plain and can_render(),
            can_edit=is_interactive() and can_edit(plain),
            cite=cite,
            stats=cached if stats else None,
            keeping=keeping,
        )
        resumed = begins.begin(talk, system, {**models.steering, **reply.given()})
        if talk.is_interactive:
            say(f"{talk.in_words()}. /help tells the commands; Ctrl-D leaves.", dim=True)
            if resumed is not None:
                say_resumed(talk, resumed)
                talk.warn_of_room()
        try:
            return talk.run(line_reader(talk, is_plain=plain, remembers=not no_save), obey)
        finally:
            keeping.keep_read(loaded.session, talk.conversation)
            _tell_how_to_go_on(talk, begins.models)


def _tell_how_to_go_on(talk: Talk, models: Models) -> None:
    """A line for a person who leaves a conversation that was kept."""
    how = talk.keeping.how_to_go_on() if talk.is_interactive else None
    if how is not None:
        same = " and the same models" if models.name is None else ""
        say(f"to go on with this conversation: edgeproxy chat {how}{same}", dim=True)
