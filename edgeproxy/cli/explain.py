"""`edgeproxy explain`: what each model said for every token of a reply.

May touch: the file that --html names, which takes the place of an older page.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeproxy.cli.run import ENDINGS
from edgeproxy.cli.ui.input import only_text, read_standard_input
from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.opening import opened
from edgeproxy.cli.ui.options import (
    Models,
    Reply,
    Wanted,
    grammar_options,
    json_option,
    model_options,
    reply_options,
    system_option,
)
from edgeproxy.cli.ui.output import StatusLine, say, write_json
from edgeproxy.errors import Cancelled, UsageError

if TYPE_CHECKING:
    from edgeproxy.explain import Explanation
    from edgeproxy.session.turn import Turn

BEST = 10
MOST = 100
_BEGINNING = b"<!doctype html>"


@click.command(
    "explain",
    short_help="Show what each model said for every token of a reply.",
    epilog="""\b
Examples:
  edgeproxy explain "What is the capital of Mongolia?"
  edgeproxy explain "What is the capital of Mongolia?" --html reply.html
  edgeproxy explain "Tell me about Chad." --table --alpha 1.5

\b
In a terminal the reply is coloured: the deeper the blue, the farther expert and anti-expert moved
the choice; underlined is what the base alone would have said otherwise. Into a pipe, and with
NO_COLOR, such a token is written [said|other]. Ctrl-C explains what was said so far.""",
)
@click.argument("prompt", callback=only_text)
@system_option
@model_options()
@reply_options(max_tokens=256)
@grammar_options
@click.option(
    "--best",
    type=click.IntRange(5, MOST),
    default=BEST,
    show_default=True,
    metavar="N",
    help="How many of each model's likeliest tokens are kept, to look at and to fuse anew.",
)
@click.option("--table", is_flag=True, help="Also print what each model said for each token.")
@click.option("--walk", is_flag=True, help="Walk through the reply with the arrow keys.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write one page that shows it all, to open in a browser; it asks no other machine.",
)
@json_option
def command(
    prompt: str,
    system: str | None,
    models: Models,
    reply: Reply,
    wanted: Wanted,
    best: int,
    table: bool,
    walk: bool,
    html: Path | None,
    as_json: bool,
) -> None:
    """Answer PROMPT, and show how the small pair moved the base; - reads it from standard input."""
    _check(models, reply, table, walk, html, as_json)
    from edgeproxy.decode.sample import draw_seed
    from edgeproxy.explain import explain
    from edgeproxy.prompts.formats import Message

    text = read_standard_input() if prompt == "-" else prompt
    messages = [Message("system", system)] if system else []
    messages.append(Message("user", text))
    grammar = wanted.read()
    with opened(models) as ready:
        session = ready.session
        speaker = session.trio_speaker  # refuses one model that answers alone
        sampling = reply.sampling(session.sampling)
        seed = draw_seed() if sampling.seed is None else sampling.seed
        turn = speaker.reply(
            messages,
            replace(sampling, seed=seed),
            reply.max_tokens,
            record=min(best, len(session.trio.vocab)),
            grammar=grammar,
        )
        _read(turn)
        explanation = explain(turn, session)
    if html is not None:
        _write_page(html, explanation)
    if as_json:
        from edgeproxy.explain import as_json as form

        write_json(form(explanation))
    elif walk:
        from edgeproxy.cli.ui.walking import walk as walk_through

        walk_through(explanation)
    else:
        from edgeproxy.cli.ui.explained import write_explained

        write_explained(explanation, table=table)
    if turn.finish_reason == "cancelled":
        raise Cancelled("the reply was interrupted")
    if turn.finish_reason in ENDINGS and not as_json:
        say(ENDINGS[turn.finish_reason], dim=True)


def _check(
    models: Models, reply: Reply, table: bool, walk: bool, html: Path | None, as_json: bool
) -> None:
    """Refuse what cannot be done before the models are loaded. Raises `UsageError`."""
    reply.sampling()
    shown = [
        name for name, is_on in (("--json", as_json), ("--table", table), ("--walk", walk)) if is_on
    ]
    if len(shown) > 1:
        raise UsageError(f"{shown[0]} and {shown[1]} do not go together; leave one out")
    if models.alpha == 0.0 or models.base_weight == 0.0:
        alone = "alpha 0 the base" if models.alpha == 0.0 else "base weight 0 the expert"
        raise UsageError(
            f"with {alone} answers alone, and nothing is moved that could be explained: give "
            "another --alpha or --base-weight"
        )
    if walk:
        from edgeproxy.cli.ui.walking import check_walk

        check_walk()
    if html is not None:
        _check_page(html)


def _check_page(path: Path) -> None:
    """Refuse to put a page where it cannot be, or where something else would be lost."""
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent} to write the page into")
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(len(_BEGINNING)).lower() != _BEGINNING:
                raise UsageError(f"{path} is there already and is no page; give another name")


def _read(turn: Turn) -> None:
    """The reply to its end, or to where Ctrl-C stops it, with a line that tells how far it is."""
    status = StatusLine()
    with on_interrupt(turn.cancel):
        try:
            for _ in turn:
                status.show(f"{turn.usage.completion} tokens")
        finally:
            status.clear()


def _write_page(path: Path, explanation: Explanation) -> None:
    from edgeproxy.explain import page_of
    from edgeproxy.files import replacing
    from edgeproxy.units import in_units

    data = page_of(explanation).encode()
    with replacing(path) as file:
        file.write(data)
    say(f"wrote {path}, {in_units(len(data))}: open it in a browser")
