"""`edgeproxy index`: folders of documents become an index, which can be searched.

May touch: the folders, and the small model's file, read only; the index.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.input import only_text
from edgeproxy.cli.ui.options import json_option
from edgeproxy.cli.ui.output import columns, say, write, write_json, write_lines
from edgeproxy.cli.ui.progress import Working, working
from edgeproxy.cli.ui.removing import agrees_to_remove, yes_option
from edgeproxy.errors import DocumentError, UsageError

if TYPE_CHECKING:
    from edgeproxy.documents.embedding import Embedding, QuestionEmbedder
    from edgeproxy.documents.index import Counts, Index
    from edgeproxy.documents.indexing import Report
    from edgeproxy.documents.search import Found  # type: ignore[attr-defined,import-not-found,unused-ignore]
    from edgeproxy.documents.sizes import Count
    from edgeproxy.documents.vectors import Made

_FILE = click.Path(path_type=Path)
_COMPLETE = "complete them: edgeproxy index -o NAME"
_SHOWN = 10
"""So many files with a problem are named; --json names all."""


class _Group(click.Group):
    """The verbs by name; what begins with none of them is for `make`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["make", *args]
        return super().parse_args(ctx, args)


@click.group(
    "index",
    cls=_Group,
    short_help="Make documents ready to be found, and search them.",
    epilog="""\b
Examples:
  edgeproxy index ~/notes ~/reports -o work
  edgeproxy index -o work
  edgeproxy index search work "notice period"
  edgeproxy index show work
  edgeproxy index make --help""",
)
def command() -> None:
    """Keep an index of documents, in which passages are found by their words.

    edgeproxy index FOLDER... -o NAME makes it, or brings it up to date: the word make may be left
    out. A folder called as one of the verbs below is given as ./show.
    """


@command.command(
    "make",
    epilog="""\b
Examples:
  edgeproxy index ~/notes ~/reports -o work
  edgeproxy index -o work
  edgeproxy index ./letters -o letters.sqlite --trio factbook
  edgeproxy index ~/notes -o work --embed minilm.gguf

\b
A second run reads only what came or changed. Ctrl-C keeps what is done; the next run goes on.""",
)
@click.argument("folders", nargs=-1, type=_FILE, metavar="[FOLDER]...")
@click.option(
    "-o",
    "--output",
    "name",
    required=True,
    metavar="NAME",
    help="The index: a name, or a path, which has a separator or ends in .sqlite.",
)
@click.option("--trio", metavar="TRIO", help="Size passages in tokens of this trio's small model.")
@click.option("--small", type=_FILE, metavar="FILE", help="The same, of this GGUF file.")
@click.option(
    "--size", type=click.IntRange(16, 2048), metavar="N", help="Tokens a passage. [default: 160]"
)
@click.option(
    "--embed",
    type=_FILE,
    metavar="FILE",
    help="Find passages by this embedding model (GGUF) besides; the index keeps it.",
)
@click.option(
    "--embed-question",
    metavar="TEXT",
    help='What the model wants before a question, such as "query: ".',
)
@click.option(
    "--embed-passage",
    metavar="TEXT",
    help='What it wants before a passage, such as "passage: ".',
)
@click.option("--no-embed", is_flag=True, help="Forget the embedding model, and all vectors.")
@json_option
def make(
    folders: tuple[Path, ...],
    name: str,
    trio: str | None,
    small: Path | None,
    size: int | None,
    embed: Path | None,
    embed_question: str | None,
    embed_passage: str | None,
    no_embed: bool,
    as_json: bool,
) -> None:
    """Index the documents in each FOLDER, or FILE, besides those that the index is of already.

    Hidden files and folders are passed over, and so are links within a folder. A document that
    cannot be read is named and passed over. Without a FOLDER the index is brought up to date.
    """
    from edgeproxy.documents.indexing import index_documents
    from edgeproxy.documents.named import find, path_of
    from edgeproxy.documents.vectors import make_vectors, remove_vectors
    from edgeproxy.llama import Embedder

    path = path_of(name) if folders else find(name)
    if no_embed and (embed or embed_question is not None or embed_passage is not None):
        raise UsageError("give --embed or --no-embed, not both")
    made = None
    with working() as work, _counting(trio, small, work) as (count, by):
        model = None if no_embed else _model(path, embed, embed_question, embed_passage, work)
        report = index_documents(
            path,
            folders,
            size=size,
            count=count,
            counted_by=by,
            progress=work.progress,
            cancel=work.stop,
        )
        if no_embed:
            remove_vectors(path)
        if model is not None:
            made = make_vectors(path, model, Embedder, progress=work.progress, cancel=work.stop)
    if as_json:
        vectors = {"made": made.vectors, "cut": made.cut} if made else None
        write_json({"index": str(path), **_report_as_json(report), "vectors": vectors}, indent=2)
        return
    _say_problems([(str(where), why) for where, why in report.problems.items()])
    _say_problems([(str(where), "it changed while it was read") for where in report.unsettled])
    _say_problems([(str(where), f"left out: {why}") for where, why in report.left_out.items()])
    if report.outside:
        say(f"{report.outside} links that lead out of their folder were not followed")
    if made and made.cut:
        say(f"of {made.cut:,} passages the embedding model read the beginning only")
    write_lines([f"{name}: {_in_words(report, made)}"])


@command.command(
    "ls",
    epilog="""\b
Example:
  edgeproxy index ls""",
)
@json_option
def ls(as_json: bool) -> None:
    """List the indexes that have a name."""
    from edgeproxy.documents.index import Index
    from edgeproxy.documents.named import names, path_of
    from edgeproxy.units import in_units

    rows, found = [("name", "documents", "passages", "size", "")], []
    for name in names():
        counts, problem = None, None
        try:
            with Index(path_of(name)) as index:
                counts = index.counts()
        except DocumentError as error:
            problem = str(error)
        found.append(
            {
                "name": name,
                "documents": counts.documents if counts else None,
                "passages": counts.passages if counts else None,
                "size": counts.size if counts else None,
                "problem": problem,
            }
        )
        cells = (f"{counts.documents:,}", f"{counts.passages:,}") if counts else ("", "")
        rows.append((name, *cells, in_units(counts.size) if counts else "", problem or ""))
    if as_json:
        write_json({"indexes": found}, indent=2)
    else:
        write_lines(columns(rows))


@command.command(
    "show",
    epilog="""\b
Examples:
  edgeproxy index show work
  edgeproxy index show work --json""",
)
@click.argument("name", metavar="NAME")
@json_option
def show(name: str, as_json: bool) -> None:
    """Tell what is in the index called NAME, or at that path."""
    from edgeproxy.documents.embedding import read_embedding
    from edgeproxy.documents.index import Index
    from edgeproxy.documents.named import find

    with Index(find(name)) as index:
        counts, roots, problems = index.counts(), index.roots(), index.problems()
        size, vectors = index.sizing.size, index.vector_count()
        with index.telling():
            model = read_embedding(index.connection, index.path)
    if not as_json:
        write_lines([*_shown(counts, roots, size), *_model_shown(model, vectors, counts)])
        _say_problems([(str(path), why) for path, why in problems])
        return
    content = {
        "index": str(index.path),
        "roots": [str(root) for root in roots],
        "documents": counts.documents,
        "passages": counts.passages,
        "passage_size": size,
        "embedding": None if model is None else _model_as_json(model, vectors),
        "kinds": counts.kinds,
        "encodings": [{"encoding": e, "documents": n} for e, n in counts.encodings.items()],
        "bytes": counts.read,
        "size": counts.size,
        "problems": [{"path": str(path), "problem": why} for path, why in problems],
    }
    write_json(content, indent=2)


@command.command(
    "search",
    epilog="""\b
Examples:
  edgeproxy index search work notice period
  edgeproxy index search work "When does the contract end?" --count 5""",
)
@click.argument("name", metavar="NAME")
@click.argument("words", nargs=-1, required=True, metavar="WORDS...", callback=only_text)
@click.option(
    "--count",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    metavar="N",
    help="Passages at most.",
)
@click.option("--no-embed", is_flag=True, help="By words alone, without the embedding model.")
@json_option
def search(name: str, words: tuple[str, ...], count: int, no_embed: bool, as_json: bool) -> None:
    """Find the passages of the index called NAME that WORDS, or a question, are about."""
    from edgeproxy.documents.index import Index
    from edgeproxy.documents.named import find
    from edgeproxy.documents.search import Finder

    question = " ".join(words)
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(working())
        index = stack.enter_context(Index(find(name)))
        embed = None if no_embed else _embedder(index, work)
        if embed is not None:
            stack.callback(embed.close)
        finder = stack.enter_context(Finder(index.connection, embed))
        found = finder.find(question, count=count, cancel=work.stop)
    if as_json:
        passages = [_found_as_json(each) for each in found]
        write_json({"question": question, "passages": passages}, indent=2)
        return
    for each in found:
        write_lines([each.passage.where])
        write(f"{each.passage.full_text}\n\n")
    if not found:
        say("nothing was found")


@command.command(
    "rm",
    epilog="""\b
Examples:
  edgeproxy index rm work
  edgeproxy index rm work --yes""",
)
@click.argument("name", metavar="NAME")
@yes_option
@json_option
def rm(name: str, yes: bool, as_json: bool) -> int | None:
    """Remove the index called NAME, or at that path; the documents stay."""
    from edgeproxy.documents.index import file_size
    from edgeproxy.documents.named import find
    from edgeproxy.documents.removing import remove_index
    from edgeproxy.units import in_units

    path = find(name)
    size = in_units(file_size(path))
    if not yes and not agrees_to_remove([f"the index {name} ({size}; the documents stay)"]):
        return 1
    freed = remove_index(path)
    if as_json:
        write_json({"removed": str(path), "freed": freed}, indent=2)
    else:
        write_lines([f"removed {name}; {in_units(freed)} freed"])
    return None


def _model(
    path: Path, file: Path | None, question: str | None, passage: str | None, work: Working
) -> Embedding | None:
    """The embedding model that the index at `path` is to have, found sound; None for none."""
    from edgeproxy.documents.embedding import check_embedding
    from edgeproxy.documents.vectors import choose_model, model_of
    from edgeproxy.llama import Embedder

    before = model_of(path)
    if file is None and before is None:
        if question is not None or passage is not None:
            raise UsageError("--embed-question and --embed-passage go with --embed FILE")
        return None
    if file is None and question is None and passage is None:
        assert before is not None
        work.tell(f"checking {before.path.name}")
        check_embedding(before, path, work.stop)
        return before
    file = file or (before.path if before else None)
    assert file is not None
    work.tell(f"loading {file.name}")
    return choose_model(
        path,
        file,
        Embedder,
        question=question,
        passage=passage,
        warn=lambda what: say(f"warning: {what}"),
        progress=work.progress,
        cancel=work.stop,
    )


def _embedder(index: Index, work: Working) -> QuestionEmbedder | None:
    """What makes vectors of questions for `index`; None where it has no embedding model."""
    from edgeproxy.documents.embedding import question_embedder
    from edgeproxy.llama import Embedder

    embed = question_embedder(index, Embedder, work.stop)
    if embed is not None and (missing := index.passage_count() - index.vector_count()):
        say(f"warning: {missing:,} passages have no vector yet; {_COMPLETE}")
    return embed


@contextlib.contextmanager
def _counting(
    trio: str | None, small: Path | None, work: Working
) -> Iterator[tuple[Count | None, str]]:
    """What counts tokens, and what to call it: None where no model was named."""
    if trio and small:
        raise UsageError("give --trio or --small, not both")
    if trio:
        from edgeproxy.trios.find import find_recipe
        from edgeproxy.trios.missing import check_here

        role = find_recipe(trio).roles["anti_expert"]
        check_here(role)
        small = role.path
    if small is None:
        yield None, ""
        return
    from edgeproxy.llama import Weights

    work.tell(f"reading the vocabulary of {small.name}")
    with Weights(small, vocab_only=True) as weights:
        yield lambda text: len(weights.vocab.encode(text)), weights.vocab.fingerprint or str(small)


def _report_as_json(report: Report) -> dict[str, Any]:
    return {
        "new": report.new,
        "changed": report.changed,
        "gone": report.gone,
        "unchanged": report.same,
        "passages": report.passages,
        "bytes": report.read,
        "other_files": report.others,
        "links_not_followed": report.outside,
        "special_files": report.special,
        "problems": [{"path": str(p), "problem": why} for p, why in report.problems.items()],
        "left_out": [{"path": str(p), "problem": why} for p, why in report.left_out.items()],
        "changed_while_read": [str(path) for path in report.unsettled],
    }


def _in_words(report: Report, made: Made | None = None) -> str:
    from edgeproxy.units import in_units

    text = f"{report.new:,} new, {report.changed:,} changed, {report.gone:,} gone, "
    text += f"{report.same:,} as before; {report.passages:,} passages"
    text += f", {in_units(report.read)} read" if report.read else ""
    text += f", {made.vectors:,} vectors made" if made and made.vectors else ""
    if report.others:
        text += f"; {report.others:,} other file{'s' * (report.others != 1)} passed over"
    return text + (f"; {len(report.problems):,} could not be read" if report.problems else "")


def _say_problems(problems: list[tuple[str, str]]) -> None:
    for path, why in problems[:_SHOWN]:
        say(f"warning: {why}" if why.startswith(path) else f"warning: {path}: {why}")
    if len(problems) > _SHOWN:
        say(f"warning: and {len(problems) - _SHOWN:,} more like these; --json names all")


def _shown(counts: Counts, roots: list[Path], size: int) -> Iterator[str]:
    from edgeproxy.units import in_units

    for at, root in enumerate(roots):
        yield f"{'' if at else 'of':<12}{root}"
    for name, value in (
        ("documents", f"{counts.documents:,}, {in_units(counts.read)}"),
        ("passages", f"{counts.passages:,}, of about {size} tokens at most"),
        ("kinds", _listed(counts.kinds)),
        ("encodings", _listed(counts.encodings)),
        ("problems", f"{counts.problems:,}"),
        ("size", in_units(counts.size)),
    ):
        yield f"{name:<12}{value}"


def _model_shown(model: Embedding | None, vectors: int, counts: Counts) -> Iterator[str]:
    if model is None:
        return
    yield f"{'embedding':<12}{model.path}"
    for what, text in (("question", model.question), ("passage", model.passage)):
        if text:
            yield f"{'':<12}{text!r} before a {what}"
    rest = "" if vectors == counts.passages else f"; {_COMPLETE}"
    yield (
        f"{'vectors':<12}{vectors:,} of {counts.passages:,} passages, of {model.dimensions} "
        f"dimensions{rest}"
    )


def _model_as_json(model: Embedding, vectors: int) -> dict[str, Any]:
    return {
        "file": str(model.path),
        "sha256": model.sha256,
        "dimensions": model.dimensions,
        "before_question": model.question,
        "before_passage": model.passage,
        "vectors": vectors,
    }


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _found_as_json(found: Found) -> dict[str, Any]:
    passage = found.passage
    return {
        "id": passage.id,
        "path": os.fspath(passage.path),
        "place": passage.place,
        "trail": list(passage.trail),
        "text": passage.text,
        "score": found.score,
        "words": list(found.words),
    }
