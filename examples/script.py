"""Ask a trio a question, and stop the answer after a while: `python script.py [TRIO] [QUESTION]`.

The models are in a process of their own: if llama.cpp crashes, this program gets an error.
"""

import sys
import threading

import edgeproxy
from edgeproxy.errors import WorkerError

LONGEST_SECONDS = 60.0


def main() -> int:
    """Answer, and say what it took."""
    arguments = sys.argv[1:]
    trio = arguments[0] if arguments else "factbook"
    question = " ".join(arguments[1:]) or "What is the capital of Mongolia?"
    try:
        with edgeproxy.load(trio, isolate=True) as session:
            for doubt in session.doubts:
                print(f"note: {doubt}", file=sys.stderr)
            turn = session.reply(question)
            stop = threading.Timer(LONGEST_SECONDS, turn.cancel)  # from any thread
            stop.daemon = True
            stop.start()
            for piece in turn:
                print(piece.text, end="", flush=True)
            stop.cancel()
            print()
            usage = turn.usage
            print(
                f"{usage.prompt} tokens read, {usage.completion} said, {turn.finish_reason}",
                file=sys.stderr,
            )
    except WorkerError as error:
        print(f"the models' process failed ({error.signal}): {error}", file=sys.stderr)
        return 1
    except edgeproxy.EdgeproxyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
