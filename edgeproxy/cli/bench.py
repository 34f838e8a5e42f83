"""`edgeproxy bench`: how fast a trio is here, with drafts and without.

May touch: the model files, read-only.
"""

from __future__ import annotations

from typing import Any

import click

from edgeproxy.cli.ui.completing import complete_trio
from edgeproxy.cli.ui.input import only_text
from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.opening import opened
from edgeproxy.cli.ui.options import DEFAULT_TRIO, Models, json_option, model_options
from edgeproxy.cli.ui.output import StatusLine, write, write_json
from edgeproxy.errors import Cancelled, UsageError

_NAMES = {
    "base": "base alone",
    "expert": "expert alone",
    "stepwise": "trio, token by token",
    "drafted": "trio, with drafts",
}


@click.command(
    "bench",
    short_help="Measure how fast a trio is on this machine.",
    epilog="""\b
Examples:
  edgeproxy bench
  edgeproxy bench mine/trio.toml --repeats 9 --max-tokens 64
  edgeproxy bench --ask "Tell me a story." --temperature 0.8 --json

\b
Everything runs in turn, REPEATS times; figures are medians. --json has base, expert, stepwise and
drafted (tokens_per_second, its spread, first_token_seconds), prompt, ratios, memory and machine.
Peak memory is the trio's, before the models measured alone; it is set beside the estimate that
is made before a load: weights, KV caches, and everything else. In --json memory is in bytes.""",
)
@click.argument("trio", required=False, shell_complete=complete_trio)
@click.option(
    "--repeats",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    metavar="N",
    help="Rounds that count.",
)
@click.option(
    "--ask",
    "questions",
    callback=only_text,
    multiple=True,
    metavar="TEXT",
    help="What is asked; may be repeated.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(2),
    default=48,
    show_default=True,
    metavar="N",
    help="The longest reply.",
)
@click.option(
    "--temperature",
    type=float,
    default=0.0,
    show_default=True,
    metavar="T",
    help="0 takes the most probable token; above, tokens are drawn, always with the same seed.",
)
@model_options(trio_flag=False)
@json_option
def command(
    repeats: int,
    questions: tuple[str, ...],
    max_tokens: int,
    temperature: float,
    models: Models,
    as_json: bool,
) -> None:
    """Measure tokens a second of TRIO: each model alone, and all three together."""
    from edgeproxy.decode.sample import Sampling
    from edgeproxy.measure import bench
    from edgeproxy.trios.find import find_recipe

    Sampling(temperature=temperature)  # refuses an impossible one before the models are loaded
    recipe = find_recipe(models.trio or DEFAULT_TRIO)
    if models.base_url or recipe.base.endpoint is not None:
        raise UsageError(
            "bench measures models on this machine, and this base is on a server; edgeproxy run "
            "--stats tells what asking it costs"
        )
    status = StatusLine()
    with opened(models, recipe) as ready, on_interrupt(ready.session.cancel) as presses:

        def progress(what: str) -> None:
            if presses.count:
                raise Cancelled("the measurement was interrupted")
            status.show(what)

        try:
            asked = questions or bench.PROMPTS
            found = bench.measure(ready.session, asked, repeats, max_tokens, progress, temperature)
        finally:
            status.clear()
    found["peak_memory"] = found["memory"]["peak"]
    if as_json:
        write_json(found, indent=2)
    else:
        write(_as_text(found))


def _as_text(found: dict[str, Any]) -> str:
    base = found["base"]["tokens_per_second"]
    lines = [f"{'':<22} {'tokens/s':>9}  {'spread':>15}  {'of base':>7}  first token"]
    for name, spoken in _NAMES.items():
        figures = found[name]
        low, high = figures["spread"]
        speed = figures["tokens_per_second"]
        lines.append(
            f"{spoken:<22} {speed:>9.1f}  {low:>7.1f}-{high:<7.1f}  {speed / base:>6.2f}x"
            f"  {figures['first_token_seconds'] * 1e3:.0f} ms"
        )
    machine = found["machine"]
    lines += [
        f"{'reading a prompt':<22} {found['prompt']['tokens_per_second']:>9.1f}",
        "",
        f"with drafts ({found['draft']}): {found['ratios']['drafted / stepwise']:.2f}x token by "
        f"token, {'the same' if found['same_text'] else 'another'} text; a prompt of "
        f"{found['prompt']['tokens']} tokens takes {found['prompt']['seconds']:.2f} s, "
        f"{found['ratios']['prompt: trio / base']:.2f}x the base alone",
        _memory_in_words(found["memory"]),
        f"the base reads its weights at {found['base_bandwidth_share']:.0%} of the "
        f"{machine['read_bandwidth_gb_per_second']:.1f} GB/s that all processors read; one thread "
        f"copies {machine['memory_bandwidth_gb_per_second']:.1f} GB/s",
        f"{machine['processor']}, {machine['processors']} processors, load {machine['load']}, "
        f"{machine['system']}, Python {machine['python']}, "
        f"llama-cpp-python {machine['llama_cpp_python']}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _memory_in_words(memory: dict[str, Any]) -> str:
    needed = (
        f"{_megabytes(memory['weights'])} of weights, {_megabytes(memory['kv'])} of KV caches "
        f"and {_megabytes(memory['needed'] - memory['weights'] - memory['kv'])} of everything else"
    )
    if memory["peak"] is None:
        return f"estimated: {needed}; this system does not tell the peak"
    return (
        f"peak memory {_megabytes(memory['peak'])}, {memory['ratio']:.2f}x of what was estimated: "
        f"{needed}"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
