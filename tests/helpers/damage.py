"""Damages copies of model files, and shows that each is refused or still decodes finite numbers.

The engine runs in a child, so that a crash or a hang is a finding with a seed, not the end.

    python -m tests.helpers.damage --count 1000 models/factbook/*.gguf
"""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from edgeproxy.errors import EdgeproxyError
from edgeproxy.gguf import read

KINDS = ("truncated", "header", "vocabulary", "tensor table")
_TIMEOUT = 120.0
_TOKENS = b"tokenizer.ggml.tokens"


@dataclass
class Findings:
    """What became of the damaged files: counts by kind of damage, and every fault with its seed."""

    refused: Counter[str] = field(default_factory=Counter)
    decoded: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Original:
    """A sound file in memory, and where its header's parts begin."""

    def __init__(self, path: Path) -> None:
        header = read(path)
        self.name, self.data = path.name, path.read_bytes()
        vocabulary = self.data.index(_TOKENS)
        table = self.data.rindex(header.tensors[0].name.encode(), 0, header.data_offset) - 8
        self.parts = {
            "header": range(vocabulary),
            "vocabulary": range(vocabulary, table),
            "tensor table": range(table, header.data_offset),
        }

    def damaged(self, seed: int) -> tuple[str, bytes]:
        """The kind of damage that `seed` does, and the file after it."""
        source = random.Random(f"{self.name} {seed}")
        kind = source.choice(KINDS)
        if kind == "truncated":
            return kind, self.data[: source.randrange(len(self.data))]
        data = bytearray(self.data)
        part = self.parts[kind]
        for _ in range(source.choice((1, 1, 1, 2, 8))):
            place = source.choice(part)
            flipped = data[place] ^ (1 << source.randrange(8))
            value = source.choice((flipped, 0, 255, source.randrange(256)))
            data[place] = flipped if value == data[place] else value
        return kind, bytes(data)


class Child:
    """A process that opens files and decodes a few tokens of each."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.damage", "--child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def ask(self, path: Path) -> tuple[str, str]:
        """("refused", why), ("decoded", ""), or ("fault", what happened)."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(path, file=self._process.stdin, flush=True)
        try:
            answer = self._answers.get(timeout=_TIMEOUT)
        except queue.Empty:
            return "fault", f"hung for {_TIMEOUT:.0f} s"
        if not answer:
            return "fault", f"died with status {self._process.wait()}"
        outcome, detail = json.loads(answer)
        return outcome, detail

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def examine(paths: list[Path], count: int, folder: Path, first_seed: int = 0) -> Findings:
    """Damage `count` copies of the files at `paths` in turn, in `folder`, and try each."""
    originals = [Original(path) for path in paths]
    findings, target = Findings(), folder / "damaged.gguf"
    child = Child()
    try:
        for seed in range(first_seed, first_seed + count):
            original = originals[seed % len(originals)]
            kind, data = original.damaged(seed)
            # A new inode each time: overwriting what is mapped would be another kind of damage.
            target.unlink(missing_ok=True)
            target.write_bytes(data)
            outcome, detail = child.ask(target)
            if outcome == "fault":
                findings.faults.append(f"{original.name}, seed {seed}, {kind}: {detail}")
                child.close()
                child = Child()
            else:
                (findings.refused if outcome == "refused" else findings.decoded)[kind] += 1
    finally:
        child.close()
    return findings


def _serve() -> None:
    for line in sys.stdin:
        print(json.dumps(_attempt(Path(line.rstrip("\n")))), flush=True)


def _attempt(path: Path) -> tuple[str, str]:
    import numpy as np

    from edgeproxy.llama import LlamaModel, Weights

    try:
        with Weights(path) as weights:
            model = LlamaModel(weights, n_ctx=64)
            tokens = weights.vocab.encode("The capital of Chad is 7é\n") or [0]
            for _ in range(4):
                row = model.eval(tokens[:32])[-1]
                if not np.isfinite(row).all():
                    return "fault", "decoded numbers that are not finite"
                tokens = [int(row.argmax())]
                weights.vocab.piece(tokens[0])
            model.close()
    except EdgeproxyError as error:
        return ("refused", str(error)) if str(error) else ("fault", "an error without a message")
    except Exception as error:  # noqa: BLE001 - anything else is what this looks for
        return "fault", repr(error)
    return "decoded", ""


def main() -> int:
    """Run the command line above; 1 when a damaged file did harm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first copy")
    parser.add_argument("paths", type=Path, nargs="*")
    arguments = parser.parse_args()
    if arguments.child:
        _serve()
        return 0
    with tempfile.TemporaryDirectory() as folder:
        findings = examine(arguments.paths, arguments.count, Path(folder), arguments.seed)
    for kind in KINDS:
        print(f"{kind:12}  refused {findings.refused[kind]:4}  decoded {findings.decoded[kind]:4}")
    print(*findings.faults, f"{len(findings.faults)} faults", sep="\n")
    return 1 if findings.faults else 0


if __name__ == "__main__":
    sys.exit(main())
