"""Several continuations of one text as one tree, in which each path is a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeproxy.core.model import Logits
from edgeproxy.errors import EngineError, UsageError
from edgeproxy.llama.batch import Batch
from edgeproxy.llama.library import lib

_MOST = 16


def check_branches(n: int) -> None:
    """Raise `UsageError` unless a context can take `n` other paths beside its own."""
    if not 0 <= n <= _MOST:
        raise UsageError(f"branches must be between 0 and {_MOST}, not {n}")


class Tree:
    """Paths as nodes, where a beginning that several have in common is there once.

    A path is (n, tokens): it continues the first n tokens of the text, and shares nodes only with
    paths of the same n. Its number is its sequence; a node belongs to the sequences of all paths
    through it. Parents come before their children, and the first path's nodes before all others.
    """

    def __init__(self, paths: Sequence[tuple[int, Sequence[int]]]) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.sequences: list[list[int]] = []
        self._paths: list[list[int]] = []
        children: dict[tuple[int, int], int] = {}
        for sequence, (n, tokens) in enumerate(paths):
            nodes: list[int] = []
            parent = -1 - n  # a root for each n, told from the nodes by its sign
            for position, token in enumerate(tokens, n):
                node = children.setdefault((parent, token), len(self.tokens))
                if node == len(self.tokens):
                    self.tokens.append(token)
                    self.positions.append(position)
                    self.sequences.append([])
                self.sequences[node].append(sequence)
                nodes.append(node)
                parent = node
            self._paths.append(nodes)

    def select(self, rows: Logits) -> list[Logits]:
        """Each path's rows, out of `rows` that hold one for each node."""
        return [
            # The nodes of a path ascend: without a gap they need no copy.
            rows[nodes[0] : nodes[-1] + 1]
            if nodes and nodes[-1] - nodes[0] < len(nodes)
            else rows[np.array(nodes, np.intp)]
            for nodes in self._paths
        ]


class TreeBatch(Batch):
    """A batch of the nodes of a `Tree`; apart, so that a run need not set its sequences again."""

    def fill(self, tree: Tree) -> None:
        """Put in the nodes of `tree`, all of which get logits."""
        n = len(tree.tokens)
        if not 1 <= n <= self.capacity:
            raise EngineError(f"a batch holds 1 to {self.capacity} tokens, not {n}")
        self.struct.n_tokens = n
        self._token[:n] = tree.tokens
        self._position[:n] = tree.positions
        self._wanted[:n] = 1
        self._n_sequences[:n] = [len(sequences) for sequences in tree.sequences]
        for ids, sequences in zip(self.struct.seq_id[:n], tree.sequences, strict=True):
            if not 0 <= sequences[0] <= sequences[-1] < self.n_sequences:
                raise EngineError(f"a batch holds {self.n_sequences} sequences, not {sequences}")
            for place, sequence in enumerate(sequences):
                ids[place] = sequence


def hold(memory: Any, starts: Sequence[int]) -> None:
    """Let sequence i + 1 hold the first `starts[i]` tokens of sequence 0, and nothing else.

    What it already holds of them stays: copying a long text for each path takes a millisecond.
    """
    for sequence, n in enumerate(starts, 1):
        held = lib.llama_memory_seq_pos_max(memory, sequence) + 1
        if held < n:
            lib.llama_memory_seq_cp(memory, 0, sequence, held, n)
        elif held > n:
            lib.llama_memory_seq_rm(memory, sequence, n, -1)


def let_go(memory: Any, n: int) -> None:
    """Let the sequences 1 to `n` hold nothing, wherever a failure left them."""
    for sequence in range(1, n + 1):
        lib.llama_memory_seq_rm(memory, sequence, -1, -1)
