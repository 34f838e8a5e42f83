"""Where installed trios live: model files named by their content, and a folder for each trio.

    blobs/<sha256>          a model file; read-only; appears by a rename, whole and checked
    trios/<name>/trio.toml  an installed trio's manifest, whose `sha256`s name blobs
    tmp/<work>/             what is under way; `lock` in it is held by the process that works there
    lock                    held, for moments, by whoever changes anything of the above

The folders in trios/ are the index: there is no other, so what a crash leaves behind is a store. It
may hold blobs that no trio names and work that nobody goes on with; `Store.clean` removes both.

May touch: the data folder (`home`), and nothing else.
"""

from edgeproxy.trios.store.check import Finding, check
from edgeproxy.trios.store.incoming import Incoming
from edgeproxy.trios.store.store import Freed, Store

__all__ = ["Finding", "Freed", "Incoming", "Store", "check"]
