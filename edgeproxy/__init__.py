"""edgeproxy: proxy-tuning on a laptop's CPU, offline, over quantised GGUF models.

    import edgeproxy

    with edgeproxy.load("factbook") as session:
        for piece in session.reply("What is the capital of Mongolia?"):
            print(piece.text, end="", flush=True)

`logits = base + alpha * (expert - anti_expert)`: Liu et al., 2024, arXiv 2401.08565.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeproxy.decode.pieces import Piece as Piece
    from edgeproxy.decode.sample import Sampling as Sampling
    from edgeproxy.decode.steering import Steering as Steering
    from edgeproxy.errors import EdgeproxyError as EdgeproxyError
    from edgeproxy.grammar.grammar import Grammar as Grammar
    from edgeproxy.prompts.formats import Message as Message
    from edgeproxy.session.conversation import Conversation as Conversation
    from edgeproxy.session.load import load as load
    from edgeproxy.session.load_async import load_async as load_async
    from edgeproxy.session.session import Session as Session
    from edgeproxy.session.turn import Turn as Turn
    from edgeproxy.trios.find import Recipe as Recipe

__version__ = "0.1.0"

# Imported on first use, so that `edgeproxy --help` needs neither NumPy nor llama.cpp.
_PUBLIC = {
    "Conversation": "edgeproxy.session.conversation",
    "EdgeproxyError": "edgeproxy.errors",
    "Grammar": "edgeproxy.grammar.grammar",
    "Message": "edgeproxy.prompts.formats",
    "Piece": "edgeproxy.decode.pieces",
    "Recipe": "edgeproxy.trios.find",
    "Sampling": "edgeproxy.decode.sample",
    "Session": "edgeproxy.session.session",
    "Steering": "edgeproxy.decode.steering",
    "Turn": "edgeproxy.session.turn",
    "load": "edgeproxy.session.load",
    "load_async": "edgeproxy.session.load_async",
}

__all__ = [
    "Conversation",
    "EdgeproxyError",
    "Grammar",
    "Message",
    "Piece",
    "Recipe",
    "Sampling",
    "Session",
    "Steering",
    "Turn",
    "__version__",
    "load",
    "load_async",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'edgeproxy' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
