"""`edgeproxy show`: what a trio is made of, read from headers; no weights are loaded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.completing import complete_trio
from edgeproxy.cli.ui.input import only_text
from edgeproxy.cli.ui.options import DEFAULT_TRIO, json_option, system_option
from edgeproxy.cli.ui.output import columns, write_json, write_lines
from edgeproxy.errors import UsageError

if TYPE_CHECKING:
    from edgeproxy.core.vocab import Vocab
    from edgeproxy.gguf import Header
    from edgeproxy.trios.find import Lora, Recipe, Role


@click.command(
    "show",
    short_help="Tell what a trio is made of.",
    epilog="""\b
Examples:
  edgeproxy show
  edgeproxy show models/factbook/trio.toml --json
  edgeproxy show qwen2.5-7b
  edgeproxy show --prompt "What is the capital of Chad?" --system "Be brief."
""",
)
@click.argument("trio", default=DEFAULT_TRIO, shell_complete=complete_trio)
@click.option(
    "--prompt",
    "question",
    metavar="TEXT",
    callback=only_text,
    help="Tell what each model would read of this message, special tokens marked.",
)
@system_option
@json_option
def command(trio: str, question: str | None, system: str | None, as_json: bool) -> None:
    """Tell what TRIO (a name, or the path of a trio.toml) is made of.

    Files, sizes, architectures, vocabularies and whether they fit, prompt formats and settings.
    Reads the files' headers only, and asks the server of a base that is on one. Of a recipe that
    has not been pulled it tells what a pull would get.
    """
    from edgeproxy.cli.ui import show_recipe
    from edgeproxy.trios.find import find_recipe

    recipe = show_recipe.not_pulled(trio)
    if question is not None or system is not None:
        _show_prompts(find_recipe(trio), question, system, as_json)
        return
    if recipe is not None:
        found, as_text = show_recipe.describe(recipe), show_recipe.as_text
    else:
        found, as_text = describe(find_recipe(trio)), _as_text
    if as_json:
        write_json(found, indent=2)
    else:
        write_lines(as_text(found))


def _show_prompts(recipe: Recipe, question: str | None, system: str | None, as_json: bool) -> None:
    """Tell what each model reads of a conversation. Raises `UsageError`."""
    from edgeproxy.cli.ui import prompts_read
    from edgeproxy.prompts.formats import Message

    if question is None:
        raise UsageError("--system stands before a message; give one with --prompt")
    messages = [Message("system", system)] if system else []
    found = prompts_read.prompts_read(recipe, [*messages, Message("user", question)])
    if as_json:
        write_json(found, indent=2)
    else:
        write_lines(prompts_read.as_text(found))


def describe(recipe: Recipe) -> dict[str, Any]:
    """Everything about a trio that its manifest and its files' headers tell.

    Raises `ModelFileError` for a file that is missing or damaged.
    """
    from edgeproxy.core.vocab import from_header
    from edgeproxy.gguf import read
    from edgeproxy.trios.missing import check_here

    roles = dict(recipe.roles)
    # The tuned model is for measuring only, and an installed trio comes without it.
    if recipe.tuned is not None and recipe.tuned_is_here:
        roles["tuned"] = recipe.tuned
    check_here(*(file for role in roles.values() for file in role.files))
    headers = {name: read(role.path, vocab_only=role.vocab_only) for name, role in roles.items()}
    vocabs = {name: from_header(headers[name]) for name in recipe.roles}
    return {
        "trio": recipe.name,
        "description": recipe.description,
        "licence": recipe.licence,
        **asdict(recipe.steering),
        "temperature": recipe.temperature,
        "fitted": asdict(recipe.fitted) if recipe.fitted else None,
        "documents": asdict(recipe.documents) if recipe.documents else None,
        "models": {name: _model(role, headers[name]) for name, role in roles.items()},
        "server": _server(recipe.base),
        "alignment": {
            name: _alignment(vocabs["base"], vocabs[name]) for name in ("expert", "anti_expert")
        },
    }


def _server(base: Role) -> dict[str, Any] | None:
    """What the server of a base is and can do; None where the base is here."""
    if base.endpoint is None:
        return None
    from edgeproxy.cli.ui.serving import asked

    return asked(base)


def _model(role: Role, header: Header) -> dict[str, Any]:
    from edgeproxy.gguf import can_rewind

    if role.vocab_only:
        return _tokenizer(role, header)

    loras = [_lora(lora, header) for lora in role.loras]
    adapted: dict[str, Any] = {"loras": loras} if loras else {}
    if len(loras) == 1:
        adapted["lora"] = loras[0]
    return {
        "name": role.file_name,
        "file": str(role.path),
        "size": header.file_size,
        "architecture": header.architecture,
        "parameters": header.n_params,
        "quantisation": _quantisation(header),
        "context": header.integer(f"{header.architecture}.context_length"),
        "vocabulary": len(header.metadata["tokenizer.ggml.tokens"]),
        "prompt": role.prompt,
        "can_rewind": can_rewind(header),
        **adapted,
    }


def _tokenizer(role: Role, header: Header) -> dict[str, Any]:
    """What is here of a model on a server."""
    return {
        "name": role.file_name,
        "file": str(role.path),
        "size": header.file_size,
        "architecture": header.architecture,
        "parameters": None,
        "quantisation": None,
        "context": None,
        "vocabulary": len(header.metadata["tokenizer.ggml.tokens"]),
        "prompt": role.prompt,
        "can_rewind": True,
    }


def _lora(lora: Lora, model: Header) -> dict[str, Any]:
    from edgeproxy.gguf import read_adapter

    adapter = read_adapter(lora.path, model)
    return {
        "name": lora.file_name,
        "called": lora.name,
        "file": str(lora.path),
        "size": adapter.header.file_size,
        "rank": adapter.ranks[1],
        "lowest_rank": adapter.ranks[0],
        "alpha": adapter.alpha,
        "scale": lora.scale,
        "matrices": adapter.n_matrices,
        "parameters": adapter.n_params,
        "quantisation": _quantisation(adapter.header),
    }


def _quantisation(header: Header) -> str:
    """The type that holds most of the parameters; what the file claims of itself may be wrong."""
    held: Counter[str] = Counter()
    for tensor in header.tensors:
        held[tensor.type.name] += math.prod(tensor.shape)
    return held.most_common(1)[0][0] if held else "none"


def _alignment(base: Vocab, other: Vocab) -> dict[str, Any]:
    from edgeproxy.align import match

    found = match(base, other)
    return {
        "case": found.case,
        "shared": found.shared,
        "unspelled": found.unspelled,
        "tokens": len(base),
        "text_tokens": sum(map(bool, base.texts)),
    }


_COUNTED = ("tokens", "text_tokens")
_COSTS = {
    "same": "nothing more",
    "padded": "a slice more",
    "permuted": "a gather more",
    "different": "a projection through bytes and some reading again",
}

_COLUMNS = (
    "role",
    "architecture",
    "parameters",
    "quantisation",
    "size",
    "context",
    "vocabulary",
    "prompt",
)


def _as_text(found: dict[str, Any]) -> list[str]:
    lines = [found["trio"]]
    lines += [found["description"]] if found["description"] else []
    lines += ["", *_table(found["models"]), ""]
    for name, model in found["models"].items():
        what = "file" if model["parameters"] is not None else "tokenizer"
        lines.append(f"{f'{_spoken(name)} {what}':<18} {_file(model)}")
        for lora in model.get("loras", ()):
            lines.append(f"{_spoken(name) + ' lora':<18} {lora['called']}: {_file(lora)}")
            lines.append(f"{'':<18} {_lora_in_words(lora)}")
        if not model["can_rewind"]:
            lines.append(f"{_spoken(name) + ' reads':<18} {_from_the_start(model)}")
    if found["server"]:
        from edgeproxy.cli.ui.serving import asked_in_words

        lines += [f"{'base server':<18} {words}" for words in asked_in_words(found["server"])]
    for name, alignment in found["alignment"].items():
        lines.append(f"{_spoken(name) + ' fits':<18} {_fits(alignment)}")
        if alignment["unspelled"]:
            lines.append(f"{_spoken(name) + ' lacks':<18} {_lacks(alignment)}")
    mask = found["plausibility"]
    lines += [
        f"{'alpha':<18} {found['alpha']:g}",
        f"{'base weight':<18} {found['base_weight']:g}",
        f"{'plausibility':<18} {f'{mask:g}' if mask else 'off'}",
        f"{'policy':<18} {found['policy']}",
        f"{'temperature':<18} {found['temperature']:g}",
        f"{'licence':<18} {found['licence'] or 'not given'}",
    ]
    if found["fitted"]:
        lines.append(f"{'fitted':<18} {_fitted(found['fitted'])}")
    if found["documents"]:
        lines.append(f"{'documents':<18} {_documents(found['documents'])}")
    return lines


_READ: dict[str, str] = {
    "nobody": "read by nobody",
    "base": "read by the base; the pair sees none",
    "expert": "read by the expert alone; the base sees none, bar what a reply says of them",
    "all": "read by all three",
}


def _documents(found: dict[str, Any]) -> str:
    most = f"at most {found['count']} passages of {found['tokens']} tokens a question"
    return f"{found['index']}, {_READ[found['to']]}; {most}"


def _fitted(found: dict[str, Any]) -> str:
    """On what the steering was found, and what it was found to be good for."""
    return f"{found['date']}, on {found['count']} questions: {found['verdict']}"


def _spoken(role: str) -> str:
    return role.replace("_", "-")


def _file(model: dict[str, Any]) -> str:
    """Where the file is; its name too, where that is not the end of its path."""
    name, path = model["name"], model["file"]
    return path if path.endswith(name) else f"{name}: {path}"


def _from_the_start(model: dict[str, Any]) -> str:
    return f"from the start each time, never drafted: {model['architecture']} cannot go back"


def _fits(alignment: dict[str, Any]) -> str:
    case, shared = alignment["case"], f"{alignment['shared']:,}"
    of_all, of_text = (f"of the base's {alignment[key]:,} tokens" for key in _COUNTED)
    match case:
        case "same":
            what = "the base's own vocabulary"
        case "padded":
            what = f"the first {shared} {of_all}"
        case "permuted":
            what = f"{shared} {of_all}, under other ids"
        case _:
            what = f"{shared} {of_text} of text are one token of its own"
    return f"{case}: {what}; a row costs {_COSTS[case]}"


def _lacks(alignment: dict[str, Any]) -> str:
    unspelled, of_text = alignment["unspelled"], alignment["text_tokens"]
    return f"{unspelled:,} of the base's {of_text:,} tokens of text: there it has no say"


def _lora_in_words(lora: dict[str, Any]) -> str:
    ranks = {lora["lowest_rank"], lora["rank"]}
    rank = " to ".join(map(str, sorted(ranks)))
    return (
        f"rank {rank}, alpha {lora['alpha']:g}, weight {lora['scale']:g}: "
        f"{lora['matrices']} matrices changed, {_count(lora['parameters'])} parameters, "
        f"{lora['quantisation']}, {lora['size'] / 1e6:,.1f} MB"
    )


def _table(models: dict[str, dict[str, Any]]) -> list[str]:
    rows = [_COLUMNS]
    for name, model in models.items():
        rows.append(
            (
                _spoken(name),
                model["architecture"],
                _or_unknown(model["parameters"], _count),
                _or_unknown(model["quantisation"], str),
                f"{model['size'] / 1e6:,.1f} MB",
                _or_unknown(model["context"], "{:,}".format),
                f"{model['vocabulary']:,}",
                model["prompt"],
            )
        )
    return columns(rows)


def _or_unknown(value: Any, in_words: Callable[[Any], str]) -> str:
    return "-" if value is None else in_words(value)


def _count(parameters: int) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if parameters >= size:
            return f"{parameters / size:.1f} {letter}"
    return str(parameters)
