"""The flags that verbs have in common, gathered into two values: `Models` and `Reply`.

Each flag's default is None, "not given": then the trio's manifest decides, or the library.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgeproxy.cli.ui.completing import complete_trio
from edgeproxy.cli.ui.input import only_text

if TYPE_CHECKING:
    from edgeproxy.decode.drafted import Draft
    from edgeproxy.decode.sample import Sampling
    from edgeproxy.decode.steering import Change
    from edgeproxy.grammar.grammar import Grammar
    from edgeproxy.llama import KvType
    from edgeproxy.remote.endpoint import ServerChange
    from edgeproxy.remote.predicts import Way
    from edgeproxy.trios.manifest import Readers

DEFAULT_TRIO = "factbook"
DEFAULT_MAX_TOKENS = 256

Command = Callable[..., Any]
Gathered = TypeVar("Gathered")


@dataclass(frozen=True)
class Models:
    """Which models answer, and how they are set up."""

    trio: str | None = None
    base: Path | None = None
    expert: Path | None = None
    anti_expert: Path | None = None
    expert_lora: Sequence[tuple[Path, float]] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    alpha: float | None = None
    base_weight: float | None = None
    plausibility: float | None = None
    expert_ends: bool | None = None
    docs: str | None = None
    docs_to: Readers | None = None
    base_url: str | None = None
    base_model: str | None = None
    base_way: Way | None = None
    base_logprobs: int | None = None
    base_context: int | None = None
    base_timeout: float | None = None
    base_key_env: str | None = None
    base_key_file: Path | None = None
    allow_http: bool = False
    ctx: int | None = None
    threads: int | None = None
    kv: KvType = "f16"
    strict: bool = False
    draft: Draft = "auto"
    force: bool = False
    verbose: int = 0

    @property
    def name(self) -> str | None:
        """The trio asked for: the one that ships where no file was given either."""
        files = (self.base, self.expert, self.anti_expert, *self.expert_lora)
        return DEFAULT_TRIO if self.trio is None and not any(files) else self.trio

    @property
    def server(self) -> ServerChange:
        """What was asked of the base's server, besides the manifest's."""
        return {
            "url": self.base_url,
            "model": self.base_model,
            "way": self.base_way,
            "logprobs": self.base_logprobs,
            "context": self.base_context,
            "timeout": self.base_timeout,
            "key_env": self.base_key_env,
            "key_file": self.base_key_file,
            "allow_http": self.allow_http or None,
        }

    @property
    def steering(self) -> Change:
        """What was asked of the steering, besides the manifest's."""
        return {
            "alpha": self.alpha,
            "base_weight": self.base_weight,
            "plausibility": self.plausibility,
            "expert_ends": self.expert_ends,
        }


@dataclass(frozen=True)
class Reply:
    """How a reply is drawn, and how long it may be, where the verb asks that."""

    max_tokens: int = DEFAULT_MAX_TOKENS
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    seed: int | None = None

    def sampling(self, otherwise: Sampling | None = None) -> Sampling:
        """These settings, and those of `otherwise` where none was given.

        Raises `UsageError` for impossible values.
        """
        from dataclasses import replace

        from edgeproxy.decode.sample import Sampling

        return replace(otherwise or Sampling(), **self.given())

    def given(self) -> dict[str, Any]:
        """Those settings of the sampling that were given, by their names there."""
        names = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class Wanted:
    """What replies keep to: a file with a JSON schema, or one with a grammar."""

    json_schema: Path | None = None
    grammar: Path | None = None

    def read(self) -> Grammar | None:
        """What the file says; None where none was given.

        Raises `UsageError` where both were given, and `GrammarError`.
        """
        from edgeproxy.errors import UsageError
        from edgeproxy.grammar.grammar import read_grammar, read_json_schema

        if self.json_schema is not None and self.grammar is not None:
            raise UsageError("--json-schema and --grammar both say what replies keep to; give one")
        if self.json_schema is not None:
            return read_json_schema(self.json_schema)
        return read_grammar(self.grammar) if self.grammar is not None else None


_PATH = click.Path(path_type=Path)

_WEIGHTED = re.compile(r"(.+)=([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)", re.DOTALL)


def _weighted(_context: click.Context, option: click.Parameter, given: Sequence[str]) -> Any:
    """FILE or FILE=WEIGHT, ... -> each file and its weight; other signs "=" belong to the file."""
    from edgeproxy.errors import UsageError
    from edgeproxy.gguf import check_scale

    chosen = []
    for each in given:
        found = _WEIGHTED.fullmatch(each)
        path, weight = (found[1], float(found[2])) if found else (each, 1.0)
        try:
            chosen.append((Path(path), check_scale(weight)))
        except UsageError as error:
            raise click.BadParameter(f"{each!r}: {error}", param=option) from None
    return tuple(chosen)


_FILES = (
    click.option("--base", type=_PATH, help="GGUF file of the large untuned model."),
    click.option("--expert", type=_PATH, help="GGUF file of the small tuned model."),
    click.option("--anti-expert", type=_PATH, help="GGUF file of the small untuned model."),
    click.option(
        "--expert-lora",
        multiple=True,
        metavar="FILE[=WEIGHT]",
        callback=_weighted,
        help="GGUF file of a LoRA adapter: the expert is the anti-expert with it. Several add up, "
        "each by its weight, which is 1 where none is given.",
    ),
)
_TRIO = click.option(
    "--trio",
    metavar="TRIO",
    shell_complete=complete_trio,
    help=f"Name of a trio, or its trio.toml. [default: {DEFAULT_TRIO}]",
)
_PROMPT_ROLES = ("base", "expert", "anti-expert", "tuned")


def _prompts(_context: click.Context, option: click.Parameter, given: Sequence[str]) -> Any:
    """ROLE=FORMAT, ... -> the format of each role, by its manifest name."""
    from edgeproxy.errors import UsageError
    from edgeproxy.prompts.formats import check_format_name

    chosen: dict[str, str] = {}
    for each in given:
        role, _, name = each.partition("=")
        if role.replace("_", "-") not in _PROMPT_ROLES:
            raise click.BadParameter(
                f"{each!r}: write ROLE=FORMAT, where ROLE is one of {', '.join(_PROMPT_ROLES)}",
                param=option,
            )
        try:
            chosen[role.replace("-", "_")] = check_format_name(name)
        except UsageError as error:
            raise click.BadParameter(f"{each!r}: {error}", param=option) from None
    return chosen


_PROMPT = click.option(
    "--prompt",
    "prompts",
    multiple=True,
    metavar="ROLE=FORMAT",
    callback=_prompts,
    help="How a model reads the conversation, for each of base, expert, anti-expert, tuned: "
    "plain, chatml, zephyr, llama2, llama3, gemma, phi3, mistral, or gguf, the template in its "
    "file.",
)
_ENDS = click.option(
    "--expert-ends/--no-expert-ends",
    default=None,
    help="Whether the expert alone says where a reply ends: for a base that reads no turns "
    "(plain), with a pair that both read a chat template.",
)
_ANSWERING = (
    _PROMPT,
    click.option(
        "--alpha",
        type=float,
        metavar="X",
        help="Weight of the pair's opinion: 0 is the base alone, 1 the paper.",
    ),
    click.option(
        "--base-weight",
        type=float,
        metavar="W",
        help="Weight of what only the base knows: 0 is the expert alone, 1 the paper.",
    ),
    click.option(
        "--plausibility",
        type=float,
        metavar="BETA",
        help="Drop tokens that the expert gives less than BETA of its best one's probability; "
        "0 is off.",
    ),
    _ENDS,
)
"""How the models of a trio answer: what its manifest may say too."""

_DOCS = (
    click.option(
        "--docs",
        metavar="NAME",
        help="Documents to read for each question: an index, as edgeproxy index made it.",
    ),
    click.option(
        "--docs-to",
        type=click.Choice(("nobody", "base", "expert", "all")),
        help="Which models read what is found in the documents. [default: base]",
    ),
)
"""What the models of a trio read; the manifest may say that too."""

_SERVER = (
    click.option(
        "--base-url",
        metavar="URL",
        help="Ask a server for the base's predictions, such as http://127.0.0.1:8080; --base is "
        "then the GGUF of its tokenizer.",
    ),
    click.option(
        "--base-model", metavar="NAME", help="The server's model, where it serves several."
    ),
    click.option(
        "--base-way",
        type=click.Choice(("rows", "bias", "top-k")),
        help="Fuse the server's log-probabilities here (rows, top-k), or have it add the pair's "
        "bias and draw (bias). [default: what the server can do]",
    ),
    click.option(
        "--base-logprobs",
        type=click.IntRange(min=1),
        metavar="N",
        help="Log-probabilities to ask for first, a token.",
    ),
    click.option(
        "--base-context",
        type=click.IntRange(min=2),
        metavar="N",
        help="The server's context in tokens, where it does not say.",
    ),
    click.option(
        "--base-timeout",
        type=click.FloatRange(0.1, 86_400.0),
        metavar="S",
        help="Seconds that the server may take for an answer. [default: 60]",
    ),
    click.option(
        "--base-key-env", metavar="NAME", help="Environment variable that holds the server's key."
    ),
    click.option("--base-key-file", type=_PATH, help="File that holds the server's key."),
    click.option("--allow-http", is_flag=True, help="Talk to another machine without encryption."),
)
"""Where the base is, if not here; the manifest may say that too."""

_LOADING = (
    click.option("--ctx", type=click.IntRange(1, 1 << 20), metavar="N", help="Context in tokens."),
    click.option(
        "--threads",
        type=click.IntRange(1, 512),
        metavar="N",
        help="Processors for each model. [default: what is fastest while it runs]",
    ),
    click.option(
        "--kv",
        type=click.Choice(("f16", "q8_0")),
        default="f16",
        show_default=True,
        help="How the text that was read is kept; q8_0 takes about half the memory of f16.",
    ),
    click.option(
        "--strict", is_flag=True, help="Refuse a pair that cannot say all that the base can."
    ),
    click.option(
        "--draft",
        type=click.Choice(("off", "ngram", "expert", "auto")),
        default="auto",
        show_default=True,
        help="What drafts tokens for the base to check several at once; the text is the same, bar "
        "rounding.",
    ),
    click.option("--force", is_flag=True, help="Load also what takes more memory than is free."),
    click.option("-v", "--verbose", count=True, help="Log to standard error; -vv logs more."),
)
_SAMPLING = (
    click.option(
        "--temperature",
        type=float,
        metavar="T",
        help="0 takes the most probable token; 1 draws from the distribution as it is only with "
        "--top-k 0 --top-p 1 --min-p 0.",
    ),
    click.option(
        "--top-k",
        type=int,
        metavar="N",
        help="Draw among the N best; 0 is off. [default: 40]",
    ),
    click.option(
        "--top-p",
        type=float,
        metavar="P",
        help="Draw among the best that sum to P; 1 is off. [default: 0.95]",
    ),
    click.option(
        "--min-p",
        type=float,
        metavar="P",
        help="Drop what has less than P of the best's share; 0 is off. [default: 0.05]",
    ),
    click.option(
        "--repeat-penalty", type=float, metavar="X", help="Above 1, repeat less. [default: 1]"
    ),
    click.option(
        "--seed", type=click.IntRange(0, 2**32 - 2), metavar="N", help="Seed of the draw."
    ),
)

_GRAMMAR = (
    click.option(
        "--json-schema",
        type=_PATH,
        metavar="FILE",
        help="The reply is a JSON text that keeps to the JSON schema in FILE.",
    ),
    click.option(
        "--grammar",
        type=_PATH,
        metavar="FILE",
        help="The reply keeps to the grammar in FILE: GBNF, as llama.cpp has it, or Lark.",
    ),
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
stats_option = click.option(
    "--stats", is_flag=True, help="Print speed, load time and memory to standard error."
)
cite_option = click.option(
    "--cite",
    is_flag=True,
    help="Also tell how much less likely each part of a reply is without each passage that was "
    "read. The models read the question once more for each of them.",
)
system_option = click.option(
    "--system", callback=only_text, metavar="TEXT", help="A system message to begin with."
)


def model_options(
    *, trio_flag: bool = True, steering: bool = True, swept: bool = False
) -> Callable[[Command], Command]:
    """Give a verb the flags that choose models; it is called with `models`.

    Without `trio_flag` the trio comes from an argument of the verb's own, and without `steering` it
    answers as its manifest or the verb says, documents only named. A verb that has `swept` the
    steering's numbers itself has all but these.
    """
    chosen = (_TRIO, *_FILES) if trio_flag else ()
    answering: Sequence[Any] = (*_ANSWERING, *_DOCS) if steering else _DOCS[:1]
    if swept:
        answering = (_PROMPT, _ENDS, *_DOCS)
    return gather("models", Models, (*chosen, *answering, *_SERVER, *_LOADING))


def files_options() -> Callable[[Command], Command]:
    """Give a verb the flags that a trio of files is made with; it is called with `models`."""
    return gather("models", Models, (*_FILES, *_ANSWERING, *_DOCS, *_SERVER))


def reply_options(max_tokens: int) -> Callable[[Command], Command]:
    """Give a verb the flags of sampling and length; it is called with `reply`."""
    length = click.option(
        "--max-tokens",
        type=click.IntRange(min=1),
        default=max_tokens,
        show_default=True,
        metavar="N",
        help="The longest reply.",
    )
    return gather("reply", Reply, (length, *_SAMPLING))


def grammar_options(command: Command) -> Command:
    """Give a verb the flags of what replies keep to; it is called with `wanted`."""
    return gather("wanted", Wanted, _GRAMMAR)(command)


def sampling_options(command: Command) -> Command:
    """Give a verb the flags of sampling alone; it is called with `reply`."""
    return gather("reply", Reply, _SAMPLING)(command)


def gather(
    name: str, kind: type[Gathered], flags: Sequence[Callable[[Command], Command]]
) -> Callable[[Command], Command]:
    """A decorator that adds `flags` and hands their values on as one `kind`, called `name`."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gathered(**values: Any) -> Any:
            mine = {field: values.pop(field) for field in names if field in values}
            return command(**values, **{name: kind(**mine)})

        result: Command = gathered
        for flag in reversed(flags):
            result = flag(result)
        return result

    return decorate
