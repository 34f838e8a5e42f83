"""A small window that goes on answering the mouse while a reply streams: `python window.py [TRIO]`.

Tk wants all its calls from the thread that made the window. So a thread reads the reply and puts
what comes into a queue, and the window looks into that queue some fifty times a second.
"""

import queue
import sys
import threading
import tkinter
from collections.abc import Callable
from tkinter import scrolledtext, ttk

import edgeproxy
import edgeproxy.worker

LOOK_MILLISECONDS = 20


class Asking:
    """Loads a trio and asks it, in threads; what comes is in `came`, to be taken by the window.

    Pairs of a kind and a text: "ready", "text", "end" or "error".
    """

    def __init__(self, load: Callable[[], edgeproxy.Session]) -> None:
        self.came: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._load = load
        self._session: edgeproxy.Session | None = None
        self._talk: edgeproxy.Conversation | None = None
        self._turn: edgeproxy.Turn | None = None
        self._in_thread(self._open)

    def ask(self, question: str) -> None:
        """Begin to answer; returns at once."""
        if self._talk is not None:
            self._turn = self._talk.say(question)
            self._in_thread(self._read)

    def stop(self) -> None:
        """End the answer under way; returns at once."""
        if self._turn is not None:
            self._turn.cancel()

    def close(self) -> None:
        """Give the memory back."""
        self.stop()
        if self._session is not None:
            self._session.close()

    def _in_thread(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except edgeproxy.EdgeproxyError as error:
                self.came.put(("error", str(error)))

        threading.Thread(target=guarded, daemon=True).start()

    def _open(self) -> None:
        self._session = self._load()
        self._talk = self._session.conversation()
        self.came.put(("ready", ""))

    def _read(self) -> None:
        turn = self._turn
        assert turn is not None
        for piece in turn:
            self.came.put(("text", piece.text))
        self.came.put(("end", turn.finish_reason or ""))


class Window:
    """The window: a text, a line for questions, and two buttons."""

    def __init__(self, asking: Asking) -> None:
        self.asking = asking
        self.root = tkinter.Tk()
        self.root.title("edgeproxy")
        self.text = scrolledtext.ScrolledText(self.root, width=70, height=20, wrap="word")
        self.text.pack(fill="both", expand=True)
        self.question = ttk.Entry(self.root)
        self.question.pack(side="left", fill="x", expand=True)
        self.question.bind("<Return>", lambda _event: self.ask())
        self.button = ttk.Button(self.root, text="Ask", command=self.ask, state="disabled")
        self.button.pack(side="left")
        self.stop = ttk.Button(self.root, text="Stop", command=asking.stop, state="disabled")
        self.stop.pack(side="left")
        self.root.protocol("WM_DELETE_WINDOW", self.close)
        self.root.after(LOOK_MILLISECONDS, self._look)

    def ask(self) -> None:
        """Ask what is in the line."""
        question = self.question.get().strip()
        if question and str(self.button["state"]) != "disabled":
            self.question.delete(0, "end")
            self._say(f"\n> {question}\n")
            self._busy(True)
            self.asking.ask(question)

    def close(self) -> None:
        """Close the window, and everything with it."""
        self.asking.close()
        self.root.destroy()

    def _look(self) -> None:
        while not self.asking.came.empty():
            kind, text = self.asking.came.get()
            if kind in ("ready", "end", "error"):
                self._busy(False)
            self._say(f"\n[{text}]\n" if kind == "error" else text if kind == "text" else "\n")
        self.root.after(LOOK_MILLISECONDS, self._look)

    def _busy(self, is_busy: bool) -> None:
        self.button["state"] = "disabled" if is_busy else "normal"
        self.stop["state"] = "normal" if is_busy else "disabled"

    def _say(self, text: str) -> None:
        self.text.insert("end", text)
        self.text.see("end")


def main() -> None:
    """Show the window until it is closed."""
    edgeproxy.worker.main()  # first of all: a frozen app is its own child
    trio = sys.argv[1] if len(sys.argv) > 1 else "factbook"
    asking = Asking(lambda: edgeproxy.load(trio, isolate=True))
    try:
        window = Window(asking)
    except tkinter.TclError as error:
        sys.exit(f"no window can be shown: {error}")
    window.root.mainloop()


if __name__ == "__main__":
    main()
