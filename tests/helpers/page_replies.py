"""What the fake server of the page's tests answers, by question."""

from __future__ import annotations

from tests.helpers.explained import explained
from tests.helpers.page_server import PageServer, Reply

MONGOLIA, PERU = "What is the capital of Mongolia?", "And of Peru?"
HELD, BROKEN, BUSY, ILL, READ, MARKED, EVIL, LONG, ONE = (
    *("Held?", "Broken?", "Busy?", "Ill?", "Read?", "Marked?", "Evil?", "Long?", "One?"),
)
ARABIC, CHINESE, EMOJI = "ما هي العاصمة؟", "首都是哪里？", "Emoji?"
WORDS = ("The", " capital", " is", " Ula", "an", "ba", "atar", ".")
BASE, EXPERT = (" I", " do", " not", " know."), ("Ulaan", "baatar.")
HOSTILE = "<img src=x onerror=document.title='bad'><script>document.title='bad'</script>"
MAN = " \U0001f468".encode()

USUAL = explained(WORDS, MONGOLIA)
ALONE = {"base": BASE, "expert": EXPERT}
PASSAGE = {
    "source": "asia.txt",
    "place": "page 3",
    "trail": ["Mongolia", "Capital"],
    "quotation": "Ulaanbaatar",
    "lacks": ["Nepal"],
}


def replies() -> dict[str, Reply]:
    """What the fake server answers, by question."""
    count = [f" {n % 97}" if n % 40 else "\n" for n in range(499)]
    marked = [
        "**Bold**",
        " and",
        " `code`",
        ":\n\n",
        "1. one\n",
        "2. two\n\n",
        "[x](http://x.example/)",
    ]
    emoji: list[str | bytes] = [
        " I",
        MAN[:3],
        MAN[3:],
        "\u200d".encode(),
        " \U0001f44d\U0001f3fd",
        "!",
    ]
    progress = {"total": 480, "cache": 0, "processed": 120, "time_ms": 9}
    return {
        MONGOLIA: Reply(USUAL, ALONE, more={"tokens_per_second": 31.5, "acceptance": 0.5}),
        PERU: Reply(explained(["Lima", " is", ".", " It", " lies", " low", "."], PERU), ALONE),
        HELD: Reply(USUAL, ALONE, held_after=3),
        BROKEN: Reply(USUAL, broken_after=3),
        BUSY: Reply(USUAL, error=(429, "16 requests wait; ask again in 3 seconds.")),
        ILL: Reply(USUAL, error=(0, "the worker was killed by SIGKILL; ask again.")),
        READ: Reply(
            USUAL,
            before=[
                {"choices": [], "edgeproxy": {"queued": {"before": 2}}},
                {"choices": [], "edgeproxy": {"loading": {"what": "base", "share": 0.5}}},
                {"choices": [], "prompt_progress": progress},
            ],
            held_after=0,
            more={"documents": {"read_by": "base", "passages": [PASSAGE, PASSAGE]}},
        ),
        MARKED: Reply(explained(marked, MARKED)),
        EVIL: Reply(
            explained(["<script>", "document.title='bad'", "</script>", HOSTILE, "\u202eabc"]),
            {"base": [HOSTILE], "expert": [f"**{HOSTILE}**", f"`{HOSTILE}`", f"\n- {HOSTILE}"]},
            more={"documents": {"passages": [{"source": HOSTILE, "place": HOSTILE}]}},
        ),
        HOSTILE: Reply(USUAL, error=(400, HOSTILE)),
        LONG: Reply(explained(count, LONG)),
        ONE: Reply(explained(["Yes"], ONE)),
        ARABIC: Reply(explained(["عا", "صمة", " منغوليا", " هي", " أو", "لان"], ARABIC)),
        CHINESE: Reply(explained(["蒙古", "国", "的", "首都", "是", "乌兰", "。"], CHINESE)),
        EMOJI: Reply(explained(emoji, EMOJI)),
    }


REPLIES = replies()


def contents(server: PageServer, at: int = -1) -> list[str]:
    """What the messages of a request said."""
    return [message["content"] for message in server.asked[at][1]["messages"]]
