"""Shows the window of `examples/window.py` over a slow fake in a worker, and uses it.

    python -m tests.helpers.window_child ask|stop|crash

Prints JSON: what the window shows in the end, and how often it came round while the reply streamed.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from edgeproxy.worker.isolated import IsolatedSession
from examples.window import Asking, Window
from tests.helpers.fake_worker import isolated

SLOW = 0.02
TICK_MILLISECONDS = 5
STOP_AFTER = 10


def main(what: str) -> None:
    """Ask by the keyboard, and stop by the mouse's button or crash the worker."""
    made: list[IsolatedSession] = []

    def load() -> IsolatedSession:
        made.append(isolated(slow=SLOW))
        return made[0]

    window = Window(Asking(load))
    ticks = 0
    has_asked = has_acted = False

    def tick() -> None:
        nonlocal ticks, has_asked, has_acted
        said = window.text.get("1.0", "end")
        is_idle = str(window.button["state"]) == "normal"
        if is_idle and not has_asked:
            has_asked = True
            window.question.insert(0, "Hello" if what == "ask" else "Long")
            window.question.event_generate("<Return>")
            window.ask()  # where no window manager gives the line the keyboard
        elif is_idle and has_asked and (has_acted or what == "ask"):
            print(json.dumps({"said": said, "ticks": ticks}), flush=True)
            window.close()
            return
        elif has_asked:
            ticks += 1
            if not has_acted and said.count("x") > STOP_AFTER:
                has_acted = True
                if what == "stop":
                    window.stop.invoke()
                elif made[0].pid is not None:
                    os.kill(made[0].pid, signal.SIGSEGV)
        window.root.after(TICK_MILLISECONDS, tick)

    window.root.after(TICK_MILLISECONDS, tick)
    window.root.mainloop()


if __name__ == "__main__":
    main(sys.argv[1])
