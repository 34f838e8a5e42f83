"""What a reply has read of documents, and what of it was taken from where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeproxy.cli.ui.options import Models
from edgeproxy.cli.ui.output import say
from edgeproxy.cli.ui.progress import working
from edgeproxy.errors import UsageError

if TYPE_CHECKING:
    from edgeproxy.documents.left_out import Reliance
    from edgeproxy.session.reading import Read
    from edgeproxy.session.turn import Turn
    from edgeproxy.trios.manifest import Readers

_WHO: dict[Readers, str] = {
    "nobody": "nobody reads",
    "base": "the base reads",
    "expert": "the expert alone reads",
    "all": "all three read",
}


_SENT: dict[Readers, str] = {
    "nobody": "none of them was sent to the base's server",
    "base": "all of them were sent to the base's server",
    "expert": "none of them was sent to the base's server, but for what the reply says of them",
    "all": "all of them were sent to the base's server",
}


def readers_in_words(readers: Readers) -> str:
    """Who reads documents: "the expert alone reads"."""
    return _WHO[readers]


def say_sources(turn: Turn) -> None:
    """Tell of each part of a reply which passage it was taken from; nothing where none was read."""
    if turn.read.readers == "nobody":
        return
    if not turn.read.found:
        say("no document has anything on this", dim=True)
        return
    from edgeproxy.documents.citing import in_words

    for line in in_words(turn.sources()):
        say(line, dim=True)


def check_cite(cite: bool, models: Models) -> None:
    """Raise `UsageError` for --cite where no model reads documents, before any is loaded."""
    if not cite:
        return
    from edgeproxy.session.reading import chosen_documents
    from edgeproxy.trios.find import choose_recipe

    files = models.base, models.expert, models.anti_expert, models.expert_lora or None
    recipe = choose_recipe(models.name, *files, models.prompts)
    documents = chosen_documents(recipe.documents, models.docs, models.docs_to)
    if documents is None or documents.to == "nobody":
        raise UsageError(
            "--cite asks which passages a reply needs, and no model reads documents here: give "
            "--docs NAME, an index that edgeproxy index made, and --docs-to base, expert or all"
        )


def left_out(turn: Turn) -> list[Reliance]:
    """How much less likely a reply's parts are without each passage. Raises as `Turn.cite`.

    Progress is shown at once, as reading a prompt may take seconds.
    """
    with working(patience=0.0) as work:

        def progress(what: str, share: float) -> None:
            work.tell(f"{what} {share:.0%}")

        return turn.cite(progress=progress, cancel=work.stop)


def say_left_out(turn: Turn) -> bool:
    """Tell which passages a reply needs, below what `say_sources` tells; whether there are any."""
    from edgeproxy.documents.left_out import in_words

    lines = in_words(left_out(turn), turn.sources())
    for line in lines:
        say(line, dim=True)
    return bool(lines)


def left_out_as_json(turn: Turn) -> list[dict[str, Any]]:
    """What leaving out each passage did to a reply's parts."""
    from edgeproxy.documents.left_out import as_data

    return as_data(left_out(turn))


def say_read(read: Read | None, base_is_elsewhere: bool = False) -> None:
    """Tell what a reply has read, and who read it; and what a base on a server got of it."""
    if read is None or not read.found:
        say("nothing was read for the last reply")
        return
    say(f"for the last reply {readers_in_words(read.readers)}:")
    for number, found in enumerate(read.found, 1):
        say(f"{number}. {found.passage.where}: {found.passage.full_text}")
    if base_is_elsewhere:
        say(_SENT[read.readers], dim=True)


def documents_as_json(turn: Turn) -> dict[str, Any]:
    """The passages that were read, by whom, and what of the reply was taken from them."""
    from edgeproxy.documents.citing import as_data

    passages = [
        {
            "id": found.passage.id,
            "file": str(found.passage.path),
            "place": found.passage.place,
            "trail": list(found.passage.trail),
            "text": found.passage.text,
            "score": round(found.score, 4),
        }
        for found in turn.read.found
    ]
    return {"to": turn.read.readers, "passages": passages, "parts": as_data(turn.sources())}
