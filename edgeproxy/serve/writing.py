"""What a writer makes of an event; of the end of a reply in a thread, for that may take seconds."""

from __future__ import annotations

from edgeproxy.serve.events import Ended, Event
from edgeproxy.serve.protocol import Sent, Writer
from edgeproxy.serve.threads import in_thread
from edgeproxy.serve.wanted import Wanted


async def taken(writer: Writer, event: Event, wanted: Wanted) -> list[Sent]:
    """What `writer` sends for `event`, which it takes. Raises as `Writer.take`."""
    # What each model said of thousands of tokens is explained at the end, and the passages are
    # found that a reply was taken from.
    if isinstance(event, Ended) and (wanted.record or event.turn.read.found):
        return await in_thread(lambda: writer.take(event), "edgeproxy writing")
    return writer.take(event)
