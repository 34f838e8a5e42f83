"""`edgeproxy chat`: a conversation, line by line, with a person or a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeproxy.cli.ui.cache import cache_option, check_cache, fill_cache
from edgeproxy.cli.ui.input import is_interactive, line_reader
from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.opening import Opened, opened
from edgeproxy.cli.ui.options import (
    CUT_AT_LENGTH,
    Models,
    Reply,
    cite_option,
    model_options,
    reply_options,
    stats_option,
    system_option,
)
from edgeproxy.cli.ui.output import say, write
from edgeproxy.cli.ui.slash import COMMANDS, Slash
from edgeproxy.cli.ui.sources import check_cite, readers_in_words, say_left_out, say_sources
from edgeproxy.cli.ui.stats import stats_line, steering_in_words
from edgeproxy.errors import Cancelled, ContextFullError, EdgeproxyError, PromptError

if TYPE_CHECKING:
    from edgeproxy.decode.sample import Sampling
    from edgeproxy.session.session import Session

_NOTES = {
    "length": CUT_AT_LENGTH,
    "context": "(cut off: the context is full; /reset begins anew)",
    "cancelled": "(stopped)",
}
_EMPTY = "(the reply is empty)"
_TWICE_SECONDS = 1.0
"""Two presses of Ctrl-C within this time are one wish: to leave."""


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
@model_options()
@reply_options(max_tokens=256)
@cite_option
@stats_option
def command(
    system: str | None, cache: Path | None, models: Models, reply: Reply, cite: bool, stats: bool
) -> int:
    """Talk to a trio: each line is answered, and the conversation is remembered.

    Without a terminal, lines are read from standard input and only the replies are printed.
    """
    reply.sampling()  # refuses impossible values before the models are loaded
    check_cache(system, cache)
    check_cite(cite, models)
    with opened(models) as ready:
        session = ready.session
        sampling = reply.sampling(session.sampling)
        cached = fill_cache(session, system, cache)
        chat = _Chat(ready, sampling, reply.max_tokens, system, cite, cached if stats else None)
        if is_interactive():
            say(
                f"{session.recipe.name}, {_setting_in_words(session)}. "
                "/help tells the commands; Ctrl-D leaves.",
                dim=True,
            )
        return chat.run(line_reader(list(COMMANDS)))


def _setting_in_words(session: Session) -> str:
    """How the models answer, who reads documents, and where a base is that is not here."""
    words = [steering_in_words(session.steering)]
    documents, remote = session.recipe.documents, session.speaker.remote
    if session.reading is not None and documents is not None:
        words.append(f"{readers_in_words(session.reading.readers)} {documents.index}")
    if remote is not None:
        words.append(f"the base is at {remote.server.who}, where the conversation is sent")
    return "; ".join(words)


class _Chat:
    """One conversation and what a person sees of it; of `stats`, where they were asked for.

    With `cite` the models are asked which passages each reply needs.
    """

    def __init__(
        self,
        ready: Opened,
        sampling: Sampling,
        max_tokens: int,
        system: str | None,
        cite: bool,
        stats: Sequence[str] | None,
    ) -> None:
        self._ready = ready
        self._sampling = sampling
        self._max_tokens = max_tokens
        self._cite = cite
        self._stats = stats
        self._conversation = ready.session.conversation(system)
        self._slash = Slash(ready.session, self._conversation, system)
        self._last_press = -_TWICE_SECONDS
        self._warned = False

    def run(self, read_line: Callable[[], str]) -> int:
        """Answer every line; the exit code: 1 when a line of a pipe could not be answered.

        Raises `KeyboardInterrupt` when Ctrl-C was pressed twice.
        """
        interactive = is_interactive()
        failed = False
        while True:
            try:
                line = read_line()
            except EOFError:
                break
            except KeyboardInterrupt:
                self._pressed_at_prompt(interactive)
                continue
            except PromptError as error:
                say(str(error))
                failed = True
                continue
            self._warned = False
            try:
                if not self._turn(line):
                    break
            except Cancelled:  # Ctrl-C while the sources of a reply were looked for
                self._last_press = time.monotonic()
                say(_NOTES["cancelled"], dim=True)
            except EdgeproxyError as error:
                say(str(error))
                failed = True
        return int(failed and not interactive)

    def _pressed_at_prompt(self, interactive: bool) -> None:
        twice = self._warned or time.monotonic() - self._last_press < _TWICE_SECONDS
        if twice or not interactive:
            raise KeyboardInterrupt
        self._warned = True
        say("press Ctrl-C again or type /quit to leave", dim=True)

    def _turn(self, line: str) -> bool:
        """Answer or obey one line; False when it says to leave."""
        if line.startswith("/"):
            return self._slash.obey(line)
        if line.strip():
            self._answer(line)
        return True

    def _answer(self, text: str) -> None:
        session = self._ready.session
        turn = self._conversation.say(text, self._sampling, self._max_tokens)
        with on_interrupt(turn.cancel) as presses:
            try:
                for piece in turn:
                    write(piece.text)
            except ContextFullError:
                raise self._too_long() from None
            finally:
                # Whatever follows, a message or the next question, begins a line of its own.
                said = turn.text
                if said and not said.endswith("\n") and sys.exc_info()[0] is not BrokenPipeError:
                    write("\n")
        if presses.count:
            self._last_press = time.monotonic()
        if turn.finish_reason in _NOTES:
            say(_NOTES[turn.finish_reason], dim=True)
        elif not turn.text:
            say(_EMPTY, dim=True)
        say_sources(turn)
        self._slash.turn = turn
        if self._cite and turn.read.found and turn.finish_reason != "cancelled":
            say_left_out(turn)
        if self._stats is not None:
            say(stats_line(session, turn, self._ready.load_seconds, self._stats), dim=True)
        if presses.count > 1:
            raise KeyboardInterrupt

    def _too_long(self) -> ContextFullError:
        """What to do where the conversation and the new message do not fit the context."""
        n_ctx = self._ready.session.n_ctx
        if any(message.role == "assistant" for message in self._conversation.messages):
            return ContextFullError(
                f"the conversation and this message do not fit the context of {n_ctx:,} tokens; "
                "/reset begins anew, and --ctx N at the start allows more"
            )
        return ContextFullError(
            f"the message does not fit the context of {n_ctx:,} tokens; "
            "send less text, or allow more with --ctx N at the start"
        )
