"""The same session in a process of its own; see `isolated`.

A program that is frozen into an executable calls `main` before anything else, for its children are
the same executable.
"""

from __future__ import annotations

from edgeproxy.children import main as main
