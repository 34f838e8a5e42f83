"""Several questions at once with asyncio, one of them cut short: `python with_asyncio.py [TRIO]`.

The loop never waits for a model: a thread reads each reply. The models serve one reply at a time,
so the others wait for their turn.
"""

import asyncio
import sys

import edgeproxy

QUESTIONS = ("What is the capital of Mongolia?", "What is the capital of Chad?")


async def answer(session: edgeproxy.Session, question: str) -> str:
    """The whole reply to one question."""
    return "".join([piece.text async for piece in session.reply(question, wait=True)])


async def cut_short(session: edgeproxy.Session) -> str:
    """What is said of a reply until its task is cancelled, which cancels the reply too."""
    turn = session.reply("Tell me about Peru.", wait=True)

    async def read() -> None:
        async for _ in turn:
            pass

    task = asyncio.create_task(read())
    while not turn.text:
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return turn.text


async def main(trio: str) -> None:
    """Load, ask, and give the memory back."""
    session = await edgeproxy.load_async(trio, isolate=True)
    try:
        answers = await asyncio.gather(*(answer(session, question) for question in QUESTIONS))
        for question, said in zip(QUESTIONS, answers, strict=True):
            print(f"{question} {said}")
        print(f"cut short: {await cut_short(session)!r}")
    finally:
        await asyncio.to_thread(session.close)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "factbook"))
