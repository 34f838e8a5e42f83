"""`edgeproxy run`: one prompt, one reply on standard output, everything else on standard error."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.cache import cache_option, check_cache, fill_cache
from edgeproxy.cli.ui.input import only_text, read_standard_input
from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.opening import opened
from edgeproxy.cli.ui.options import (
    Models,
    Reply,
    Wanted,
    cite_option,
    grammar_options,
    json_option,
    model_options,
    reply_options,
    stats_option,
    system_option,
)
from edgeproxy.cli.ui.output import say, write, write_json
from edgeproxy.cli.ui.sources import (
    check_cite,
    documents_as_json,
    left_out_as_json,
    say_left_out,
    say_sources,
)
from edgeproxy.cli.ui.stats import stats_line
from edgeproxy.errors import Cancelled

if TYPE_CHECKING:
    from edgeproxy.decode.pieces import Piece
    from edgeproxy.session.session import Session
    from edgeproxy.session.turn import Turn


@click.command(
    "run",
    short_help="Answer one prompt.",
    epilog="""\b
Examples:
  edgeproxy run "What is the capital of Mongolia?"
  echo "Tell me about Chad." | edgeproxy run - --alpha 1.5
  edgeproxy run "Name three rivers of Asia." --json-schema rivers.json
  edgeproxy run --base big.gguf --expert chat.gguf --anti-expert raw.gguf "Hello" --json

\b
--json prints one object: text, finish_reason (stop, length, context or cancelled), tokens (id,
text and logprob each; the token that ended the reply has no text), usage, alpha,
base_weight, plausibility, seed, trio, changed (of how many tokens the pair changed the likeliest
choice); with --docs also documents: the passages, who read them, and which of them each part of the
reply was taken from; with --cite in it also left_out.""",
)
@click.argument("prompt", callback=only_text)
@system_option
@cache_option
@model_options()
@reply_options(max_tokens=256)
@grammar_options
@cite_option
@json_option
@stats_option
def command(
    prompt: str,
    system: str | None,
    cache: Path | None,
    models: Models,
    reply: Reply,
    wanted: Wanted,
    cite: bool,
    as_json: bool,
    stats: bool,
) -> None:
    """Answer PROMPT once; - reads it from standard input.

    Only the reply goes to standard output, so it can be piped.
    """
    from edgeproxy.decode.sample import draw_seed
    from edgeproxy.prompts.formats import Message

    text = read_standard_input() if prompt == "-" else prompt
    messages = [Message("system", system)] if system else []
    messages.append(Message("user", text))
    reply.sampling()  # refuses impossible values before the models are loaded
    check_cache(system, cache)
    check_cite(cite, models)
    grammar = wanted.read()
    with opened(models) as ready:
        session = ready.session
        sampling = reply.sampling(session.sampling)
        seed = draw_seed() if sampling.seed is None else sampling.seed
        cached = fill_cache(session, system, cache)
        turn = session.reply(
            messages,
            sampling=replace(sampling, seed=seed),
            grammar=grammar,
            max_tokens=reply.max_tokens,
        )
        said: list[Piece] = []
        with on_interrupt(turn.cancel):
            for piece in turn:
                said.append(piece)
                if not as_json:
                    write(piece.text)
        ending = turn.finish_reason
        cite = cite and ending != "cancelled"
        if as_json:
            content = _as_json(said, turn, session, seed)
            try:
                if cite:
                    content["documents"]["left_out"] = left_out_as_json(turn)
            finally:
                write_json(content)  # the reply is not lost with its sources
        else:
            write("\n")
            say_sources(turn)
            if cite and turn.read.found:
                say_left_out(turn)
        if stats:
            say(stats_line(session, turn, ready.load_seconds, cached))
    if ending == "cancelled":
        raise Cancelled("the reply was interrupted")
    if ending in ENDINGS and not as_json:
        say(ENDINGS[ending], dim=True)


ENDINGS = {
    "length": "(cut off at the longest reply asked for; --max-tokens allows more)",
    "context": "(cut off: the context is full; --ctx allows more)",
}


def _as_json(pieces: list[Piece], turn: Turn, session: Session, seed: int) -> dict[str, Any]:
    tokens: list[dict[str, Any]] = []
    for piece in pieces:
        if piece.token is not None:
            logprob = piece.logprob
            finite = logprob is not None and math.isfinite(logprob)
            entry = {"id": piece.token, "text": piece.text, "logprob": logprob if finite else None}
            tokens.append(entry)
        elif tokens:
            tokens[-1]["text"] += piece.text  # what was held back belongs to the token before
    usage = turn.usage
    return {
        "text": "".join(piece.text for piece in pieces),
        "finish_reason": turn.finish_reason,
        "tokens": tokens,
        "usage": {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "total_tokens": usage.prompt + usage.completion,
        },
        **asdict(session.steering),
        "seed": seed,
        "trio": session.recipe.name,
        "changed": _changed(turn),
        **({} if session.reading is None else {"documents": documents_as_json(turn)}),
        **_of_server(turn),
    }


def _changed(turn: Turn) -> dict[str, Any] | None:
    """In how many tokens the pair changed the likeliest choice; None where that is not known."""
    changed = turn.stats.changed
    return None if changed is None else changed._asdict() | {"share": changed.share}


def _of_server(turn: Turn) -> dict[str, Any]:
    """What asking the base's server has cost; nothing where the base is here."""
    spent = turn.stats.spent
    return {} if spent is None else {"server": asdict(spent) | {"money": spent.money}}
