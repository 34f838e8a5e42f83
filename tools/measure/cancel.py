"""How soon a cancel is heard while a long prompt is read, and whether the reply after it is right.

    python -m tools.measure.cancel TRIO [--tokens 3000] [--times 10] [--within 4.0] [--json]

A conversation is begun; then a message of so many tokens is asked, and its reply cancelled at a
random moment within so many seconds, so many times. At last a short question must get the answer
that it gets in a conversation where nothing was ever cancelled. Run it on a quiet machine: a cancel
is heard between two operations of llama.cpp's, and who waits for a processor waits longer.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from statistics import median
from typing import Any

from edgeproxy.cli.ui.progress import Working
from edgeproxy.prompts.formats import Message
from edgeproxy.session.conversation import Conversation
from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from tools.command import add_json, at_least, make_parser, run

_FIRST, _LAST = "What is the capital of Chad?", "And of Peru?"
_REPLY = 12  # tokens
_CONTEXT = 4096


def measure(trio: str, tokens: int, times: int, within: float, seed: int, work: Working) -> Any:
    """Seconds from each cancel to the end of its turn, and whether what followed was right."""
    with load(trio, n_ctx=max(_CONTEXT, 2 * tokens), force=True) as session:
        text = _text(session, tokens)
        conversation = session.conversation()
        _ask(conversation, _FIRST)
        chance, taken = random.Random(seed), []
        for number in range(times):
            work.tell(f"cancelling, {number + 1} of {times}")
            taken.append(_cancelled(conversation, text, chance.uniform(0.0, within)))
        after = _ask(conversation, _LAST)
        prompt = session.speaker.count([Message("user", text)])
    with load(trio, n_ctx=max(_CONTEXT, 2 * tokens), force=True) as session:
        fresh = session.conversation()
        _ask(fresh, _FIRST)
        is_right = _ask(fresh, _LAST) == after
    return {
        "prompt_tokens": prompt,
        "median_seconds": median(taken),
        "most_seconds": max(taken),
        "same_reply_afterwards": is_right,
        "seconds": taken,
    }


def _text(session: Session, tokens: int) -> str:
    """A text of about so many tokens."""
    words = [f"word{n}" for n in range(tokens)]
    low, high = 1, tokens
    while low < high:
        middle = (low + high + 1) // 2
        if session.speaker.count([Message("user", " ".join(words[:middle]))]) <= tokens:
            low = middle
        else:
            high = middle - 1
    return " ".join(words[:low])


def _ask(conversation: Conversation, text: str) -> str:
    return "".join(piece.text for piece in conversation.say(text, max_tokens=_REPLY))


def _cancelled(conversation: Conversation, text: str, after: float) -> float:
    """Seconds from a cancel, so many seconds after the beginning, to the end of the turn."""
    turn = conversation.say(text, max_tokens=_REPLY)
    at: list[float] = []

    def cancel() -> None:
        time.sleep(after)
        at.append(time.perf_counter())
        turn.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    list(turn)
    done = time.perf_counter()
    canceller.join()
    return max(0.0, done - at[0])


def _as_text(found: Any) -> str:
    right = "the same as" if found["same_reply_afterwards"] else "NOT the same as"
    return (
        f"a prompt of {found['prompt_tokens']:,} tokens: cancelled within "
        f"{found['median_seconds'] * 1000:.0f} ms (median), {found['most_seconds'] * 1000:.0f} ms "
        f"at the most; the reply afterwards is {right} without any cancel"
    )


def _work(asked: argparse.Namespace, work: Working) -> Any:
    return measure(asked.trio, asked.tokens, asked.times, asked.within, asked.seed, work)


def main() -> int:
    """Measure as the command line asks; the exit code."""
    parser = make_parser("tools.measure.cancel", __doc__)
    parser.add_argument("trio")
    parser.add_argument("--tokens", type=at_least(10), default=3000)
    parser.add_argument("--times", type=at_least(1), default=10)
    parser.add_argument("--within", type=float, default=4.0, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    add_json(parser)
    return run(parser, _work, _as_text)


if __name__ == "__main__":
    sys.exit(main())
