"""`edgeproxy serve`: a trio for other programs, over HTTP or over standard input and output.

May touch: the network, as far as listening; a UNIX socket where --socket says; this user's history
with --keep-sessions; the handler of SIGINT with --stdio.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.completing import complete_trio
from edgeproxy.cli.ui.key_chosen import KEY_VARIABLE, Key, chosen_key
from edgeproxy.cli.ui.opening import loading_options, prepare_logging
from edgeproxy.cli.ui.options import Models, gather, model_options
from edgeproxy.errors import EdgeproxyError, UsageError
from edgeproxy.serve.settings import LEAST_SECONDS, MOST_SECONDS, Settings

if TYPE_CHECKING:
    from edgeproxy.cli.ui.server_running import Closes
    from edgeproxy.serve.engine import SharedEngine
    from edgeproxy.serve.http.app import Parts
    from edgeproxy.serve.http.listening import Listening

HOST, PORT = "127.0.0.1", 8080

SHELF_MB = 500
"""Megabytes for what was read of other conversations."""

_SHELF_SHARE = 8
"""Of memory that is free, one part in so many is taken for it at most."""

_MB = 10**6
_NEEDED = ("starlette", "uvicorn")

_SETTINGS = (
    click.option(
        "--keep-alive",
        type=click.FloatRange(0.0, MOST_SECONDS),
        metavar="SECONDS",
        help="Unload the models when nobody has asked for so long; the next request loads them "
        "again. [default: never]",
    ),
    click.option("--lazy", is_flag=True, help="Load the models at the first request only."),
    click.option(
        "--shelf",
        type=click.IntRange(0, 1 << 20),
        metavar="MB",
        help="Memory for what was read of conversations that others interrupt, in MB; with 0 they "
        f"are read again. [default: {SHELF_MB}, or less where little memory is free]",
    ),
    click.option(
        "--max-queue",
        "most_waiting",
        type=click.IntRange(0, 100_000),
        default=Settings.most_waiting,
        show_default=True,
        metavar="N",
        help="So many requests may wait; others are told to come again (429).",
    ),
    click.option(
        "--max-tokens",
        "most_tokens",
        type=click.IntRange(min=1),
        default=Settings.most_tokens,
        show_default=True,
        metavar="N",
        help="The longest reply, whatever a request asks for.",
    ),
    click.option(
        "--max-seconds",
        "most_seconds",
        type=click.FloatRange(LEAST_SECONDS, MOST_SECONDS),
        default=Settings.most_seconds,
        show_default=True,
        metavar="SECONDS",
        help="A reply ends after so long.",
    ),
)


@click.command(
    "serve",
    short_help="Answer other programs: OpenAI's protocol over HTTP, and a page.",
    epilog="""\b
Examples:
  edgeproxy serve
  edgeproxy serve factbook --port 0 --json
  EDGEPROXY_API_KEY=... edgeproxy serve factbook --keep-alive 300
  edgeproxy serve factbook --socket /run/user/1000/edgeproxy.sock --no-key
  edgeproxy serve factbook --stdio

\b
Ctrl-C and SIGTERM let what is under way end for some seconds; a second Ctrl-C does not wait.""",
)
@click.argument("named", metavar="[TRIO]", required=False, shell_complete=complete_trio)
@click.option(
    "--host",
    metavar="HOST",
    help=f"Listen at this address of this machine; 0.0.0.0 lets others in too. [default: {HOST}]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help=f"Listen at this port; 0 is any that is free. [default: {PORT}]",
)
@click.option(
    "--socket",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Listen at this UNIX socket, which you alone can use, and at no port.",
)
@click.option(
    "--stdio",
    is_flag=True,
    help="Take requests from standard input and answer on standard output, a line of JSON each, "
    "and listen nowhere.",
)
@click.option(
    "--key-env",
    metavar="NAME",
    help="Environment variable that holds the key that clients must send. "
    f"[default: {KEY_VARIABLE}, and without it a new key at each start]",
)
@click.option(
    "--key",
    metavar="KEY",
    help="The key itself. Better not: everybody on this machine sees it in the list of processes, "
    "and your shell remembers it.",
)
@click.option(
    "--no-key",
    is_flag=True,
    help="Ask for no key. Only at a loopback address or a socket, and then every program of this "
    "machine, or whoever may open the socket, can ask.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Another name by which clients call this server, as behind a proxy. May be repeated.",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Let pages of this origin ask, such as tauri://localhost. May be repeated.",
)
@gather("settings", Settings, _SETTINGS)
@click.option(
    "--max-body",
    type=click.IntRange(1, 1 << 30),
    default=4 << 20,
    show_default=True,
    metavar="BYTES",
    help="The largest request.",
)
@click.option(
    "--keep-sessions",
    is_flag=True,
    help="Keep the page's conversations in your history, where `edgeproxy sessions` and "
    "`edgeproxy chat --continue` find them. Otherwise the browser keeps them.",
)
@click.option(
    "--with-parent",
    is_flag=True,
    help="End when the process that started this one does, or when standard input, being a pipe, "
    "is closed.",
)
@model_options()
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Say that it is ready as one line of JSON: address, port, socket, key, pid, trio.",
)
def command(
    named: str | None,
    host: str | None,
    port: int | None,
    socket: Path | None,
    stdio: bool,
    key_env: str | None,
    key: str | None,
    no_key: bool,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    settings: Settings,
    lazy: bool,
    shelf: int | None,
    max_body: int,
    keep_sessions: bool,
    with_parent: bool,
    models: Models,
    as_json: bool,
) -> None:
    """Answer other programs with TRIO: OpenAI's protocol over HTTP, and a page for a browser.

    It says where it is once it answers: an address, and a key that goes with each request. The
    page's address holds the key. Nothing but this machine is let in unless you say so.
    """
    # Before all else, for whoever started this may have ended meanwhile.
    has_parent = _parent() if with_parent else None
    if named is not None and models.trio is not None:
        raise UsageError("a trio was named twice; leave --trio out")
    models = replace(models, trio=named or models.trio)
    _check_place(host, port, socket, stdio)
    prepare_logging(models.verbose, is_shown=True)
    settings = replace(settings, preload=not lazy)
    if stdio:
        if keep_sessions:
            raise UsageError("--keep-sessions is for the page, which --stdio has not; leave it out")
        # A host that does not read pauses its replies.
        settings = replace(settings, patience=MOST_SECONDS)
        _run_on_streams(partial(make_engine, models, settings, _shelf(shelf)))
        return
    made = partial(make_engine, models, settings, _shelf(shelf))
    _check_installed()
    from edgeproxy.cli.ui.server_running import Plan, run_server
    from edgeproxy.serve.http.guards import guards
    from edgeproxy.serve.http.limits import Limits
    from edgeproxy.serve.http.listening import is_loopback

    host = HOST if host is None else host
    chosen: Key = chosen_key(key, key_env, no_key, socket is not None or is_loopback(host))
    allowed = guards(chosen.value, None if socket else host, hosts, origins)
    limits = Limits(body=max_body)
    if keep_sessions:
        from edgeproxy.history.history import History

        History.open().close()  # what is wrong with it is told at once
    with _listening(host, PORT if port is None else port, socket) as listening:
        plan = Plan(listening, allowed, limits, chosen, lazy, has_parent, as_json)
        asyncio.run(run_server(partial(make_served, made, keep_sessions), plan))


def _parent() -> Callable[[], bool]:
    from edgeproxy.serve.http.parent import looks_for_parent

    return looks_for_parent()


def make_engine(models: Models, settings: Settings, shelf: int = 0) -> SharedEngine:
    """The engine for these models; nothing is loaded yet. Raises as `choose_recipe` does.

    `shelf` is as in `load`.
    """
    from edgeproxy.serve.engine import SharedEngine
    from edgeproxy.session.load import load
    from edgeproxy.session.reading import chosen_documents
    from edgeproxy.trios.find import choose_recipe, on_server

    options = loading_options(models)
    # What `load` will come to, for those who ask before that.
    recipe = choose_recipe(
        models.name,
        models.base,
        models.expert,
        models.anti_expert,
        options["expert_lora"],
        models.prompts,
    )
    recipe = replace(
        recipe,
        base=on_server(recipe.base, models.server),
        steering=recipe.steering.changed(models.steering),
        documents=chosen_documents(recipe.documents, models.docs, models.docs_to),
    )
    loader = partial(load, models.name, **options, isolate=True, shelf=shelf)
    context = {} if models.ctx is None else {"n_ctx": models.ctx}
    return SharedEngine(loader, recipe, settings, **context)


def make_served(make: Callable[[], SharedEngine], keeps_sessions: bool, /) -> tuple[Closes, Parts]:
    """The engine, and what a server over HTTP is made of with it. Raises as `make_engine` does."""
    from edgeproxy.serve.http.wiring import parts_of, sessions_of

    engine = make()
    return engine, parts_of(engine, sessions_of(engine) if keeps_sessions else None)


def _shelf(megabytes: int | None) -> int:
    """Bytes for what was read of other conversations."""
    if megabytes is not None:
        return megabytes * _MB
    from edgeproxy.core.memory_free import free_memory

    free = free_memory()
    usual = SHELF_MB * _MB
    return usual if free is None else min(usual, free.bytes // _SHELF_SHARE)


def _run_on_streams(make: Any) -> None:
    from edgeproxy.cli.ui.interrupt import no_interrupt
    from edgeproxy.serve.pipes import take_standard_streams
    from edgeproxy.serve.stdio import serve
    from edgeproxy.serve.told import service_of

    async def run() -> None:
        engine = make()
        engine.start()
        try:
            await serve(service_of(engine), take_standard_streams())
        finally:
            await engine.close(0.0)

    with no_interrupt():  # a terminal's Ctrl-C is for the host
        asyncio.run(run())


def _check_place(host: str | None, port: int | None, socket: Path | None, stdio: bool) -> None:
    where = {"--socket": socket is not None, "--stdio": stdio}
    where["--host"], where["--port"] = host is not None, port is not None
    chosen = [name for name, is_given in where.items() if is_given]
    if len(chosen) > 1 and chosen != ["--host", "--port"]:
        raise UsageError(f"{chosen[0]} and {chosen[1]} do not go together; leave one out")


def _check_installed() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise EdgeproxyError(
            f"serving over HTTP needs {' and '.join(missing)}: pip install 'edgeproxy[server]'; "
            "--stdio needs nothing"
        )


@contextlib.contextmanager
def _listening(host: str, port: int, socket: Path | None) -> Iterator[Listening]:
    from edgeproxy.serve.http.listening import at_path, at_port

    with at_port(host, port) if socket is None else at_path(socket) as listening:
        yield listening
