"""`edgeproxy chat`: a conversation, line by line, with a person or a pipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeproxy.cli.ui.cache import cache_option, check_cache, fill_cache
from edgeproxy.cli.ui.input import is_interactive
from edgeproxy.cli.ui.options import (
    Models,
    Reply,
    cite_option,
    model_options,
    reply_options,
    stats_option,
    system_option,
)
from edgeproxy.cli.ui.output import say
from edgeproxy.cli.ui.sources import check_cite

if TYPE_CHECKING:
    from edgeproxy.session.overflow import Overflow


@click.command(
    "chat",
    short_help="Talk to a trio.",
    epilog="""\b
Examples:
  edgeproxy chat
  edgeproxy chat --alpha 0.5 --temperature 0.7
  edgeproxy chat --base big.gguf --expert chat.gguf --anti-expert raw.gguf
  edgeproxy chat --system "$(cat rules.txt)" --prompt-cache rules.prefix
  printf 'What is the capital of Chad?\\nAnd its currency?\\n' | edgeproxy chat

\b
While it runs: /help tells the commands. Ctrl-C stops a reply, twice leaves; so does Ctrl-D.""",
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
@cite_option
@stats_option
def command(
    system: str | None,
    cache: Path | None,
    overflow: Overflow,
    plain: bool,
    models: Models,
    reply: Reply,
    cite: bool,
    stats: bool,
) -> int:
    """Talk to a trio: each line is answered, and the conversation is remembered.

    Without a terminal, lines are read from standard input and only the replies are printed.
    """
    reply.sampling()  # refuses impossible values before the models are loaded
    check_cache(system, cache)
    check_cite(cite, models)
    from edgeproxy.cli.chatting.asked import Settings
    from edgeproxy.cli.chatting.commands import obey
    from edgeproxy.cli.chatting.lines import line_reader
    from edgeproxy.cli.chatting.loaded import Loaded
    from edgeproxy.cli.chatting.printing import can_render
    from edgeproxy.cli.chatting.talk import Talk

    settings = Settings(reply.max_tokens, reply.given(), overflow=overflow)
    with Loaded(models) as loaded:
        cached = fill_cache(loaded.session, system, cache)
        talk = Talk(
            loaded,
            settings,
            system,
            is_interactive=is_interactive(),
            can_render=not plain and can_render(),
            cite=cite,
            stats=cached if stats else None,
        )
        if talk.is_interactive:
            say(f"{talk.in_words()}. /help tells the commands; Ctrl-D leaves.", dim=True)
        return talk.run(line_reader(talk, is_plain=plain), obey)
