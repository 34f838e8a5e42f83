"""Every error that edgeproxy raises on purpose.

    EdgeproxyError            what went wrong, with what, and what to do
    ├── UsageError            an argument or option is impossible
    │   ├── PromptError       a prompt is empty, not text, or too large to tokenise
    │   └── GrammarError      no reply can be held to a JSON schema or a grammar
    ├── ModelFileError        a model file is missing, damaged, or not what it claims
    ├── ManifestError         a trio.toml is missing or wrong
    ├── StoreError            an installed trio or the store is damaged, or cannot be changed
    ├── HubError              the hub refuses, is out of reach, or has another file
    ├── BundleError           a bundle is damaged or not what it claims, or cannot be made
    ├── DocumentError         a document, or an index of documents, cannot be read
    │   └── UnreadableError   one document cannot: damaged, encrypted, too large, not text
    ├── HistoryError          the history of conversations cannot be read or written to
    │   └── RemovedError      a session was removed while a chat had it
    ├── VocabularyError       two vocabularies cannot be combined
    ├── TuningError           tuning is impossible here, failed, or made no sound adapter
    ├── OutOfMemoryError      a trio, or tuning, takes more memory than is free
    ├── EngineError           llama.cpp failed, or was used wrongly
    │   ├── EngineLoadError   llama.cpp itself cannot be loaded on this machine
    │   ├── ContextFullError  the text no longer fits the context
    │   ├── LogitsError       a model answered with NaN, or with nothing finite
    │   ├── WorkerError       the process that the models run in ended, hangs, or does not start
    │   └── RemoteError       a server that holds a model fails, or answers with nonsense
    │       ├── RemoteUnreachableError   no connection, none that lasts, or no answer in time
    │       ├── RemoteBusyError          it has too much to do, or still loads its model
    │       └── RemoteRefusedError       it will not do this, however often it is asked
    │           └── RemoteFullError      the text is too long for it; also a ContextFullError
    ├── BusyError             another reply has the models, or took them from this one
    │   └── QueueFullError    a server has as many requests waiting as it takes
    ├── TooSlowError          a client does not take its reply, or a prompt is not read in time
    ├── ClosingError          a server shuts down and takes no more requests
    └── Cancelled             a caller asked an evaluation to stop

The first argument is the message that a person reads; it names the file or value and the remedy.
"""

from __future__ import annotations


class EdgeproxyError(Exception):
    """Base of all errors here. `str()` of it is one or more sentences for a person."""


class UsageError(EdgeproxyError, ValueError):
    """An argument has an impossible value; the message names it and the possible ones."""


class PromptError(UsageError):
    """A prompt is empty, is not valid Unicode text, or is too large to tokenise."""


class GrammarError(UsageError):
    """A JSON schema or grammar is damaged or too large, or no reply can be held to it."""


class ModelFileError(EdgeproxyError):
    """A model file is missing, damaged, or not what its header claims."""

    def __init__(self, path: object, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = str(path)
        self.what = what


class ManifestError(EdgeproxyError):
    """A trio's manifest is missing, malformed, or points outside its folder."""


class StoreError(EdgeproxyError):
    """An installed trio is missing or damaged, or the store cannot be read or changed."""


class HubError(EdgeproxyError):
    """A hub refuses a file, cannot be reached, or has another file than the one wanted."""


class BundleError(EdgeproxyError):
    """A bundle is damaged, not what it claims, not from whom it should be, or cannot be made."""


class DocumentError(EdgeproxyError):
    """A document, or an index of documents, cannot be read; the message names it and the reason."""


class UnreadableError(DocumentError):
    """One document cannot be read: it is damaged, encrypted, too large, or not what it claims."""

    def __init__(self, path: object, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = str(path)
        self.what = what


class HistoryError(EdgeproxyError):
    """The history of conversations cannot be read or written, or has no such session."""


class RemovedError(HistoryError):
    """A session that a chat was writing to has been removed meanwhile."""


class VocabularyError(EdgeproxyError):
    """Two vocabularies have no text in common, or lose some where that was refused."""


class TuningError(EdgeproxyError):
    """Tuning cannot begin, came to nothing, or made an adapter that llama.cpp reads otherwise."""


class OutOfMemoryError(EdgeproxyError):
    """A trio, or tuning, takes more memory than is free; the message says what would fit."""


class EngineError(EdgeproxyError):
    """llama.cpp failed, or a model was used after `close` or from two threads at once."""


class EngineLoadError(EngineError):
    """llama.cpp cannot be loaded here; the message says what is missing, and what to type."""


class ContextFullError(EngineError):
    """The next tokens do not fit the context; nothing was evaluated."""


class LogitsError(EngineError):
    """A model's row holds NaN, or nothing finite; no token can be chosen from it."""


class WorkerError(EngineError):
    """The process that an isolated session's models run in ended, hangs, or cannot be started.

    `signal` names the signal that ended it, such as "SIGSEGV", where one did; `said` are the last
    lines of what it wrote. The next call starts a fresh one.
    """

    def __init__(self, what: str, signal: str | None = None, said: tuple[str, ...] = ()) -> None:
        super().__init__(what)
        self.signal = signal
        self.said = said


class RemoteError(EngineError):
    """A server failed or answered with nonsense; the message names the server.

    `status` is that of its answer in HTTP, 0 where there was none.
    """

    def __init__(self, server: object, what: str, status: int = 0) -> None:
        super().__init__(f"{server}: {what}")
        self.server = str(server)
        self.what = what
        self.status = status


class RemoteUnreachableError(RemoteError):
    """A server cannot be connected to, drops the connection, or does not answer in time."""


class RemoteBusyError(RemoteError):
    """A server has too much to do or still loads its model; later it may answer."""


class RemoteRefusedError(RemoteError):
    """A server refuses a request: its key, its path, its model, or what it asks for."""


class RemoteFullError(RemoteRefusedError, ContextFullError):
    """A text does not fit the context of a server's model."""


class BusyError(EdgeproxyError):
    """Another reply is under way on the same models, or a later one took them from this one."""


class QueueFullError(BusyError):
    """As many requests wait as a server lets wait; ask again in `retry_after` seconds."""

    def __init__(self, what: str, retry_after: int) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class TooSlowError(EdgeproxyError):
    """A client of a server does not take its reply, or its prompt is not read in time."""


class ClosingError(EdgeproxyError):
    """A server shuts down, and answers no more."""


class Cancelled(EdgeproxyError):
    """An evaluation was cancelled; the model has been put back to where it was before."""
