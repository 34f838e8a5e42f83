"""What langchain-openai does with a server of edgeproxy's: python with_langchain.py [QUESTION].

It reads OPENAI_BASE_URL, the server's address with /v1, and OPENAI_API_KEY, and prints JSON.
"""

import asyncio
import json
import sys

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI
from openai import NotFoundError
from pydantic import BaseModel, Field

QUESTION = [*sys.argv[1:], "What is the capital of Mongolia?"][0]
TALK = [
    SystemMessage("Answer questions about countries."),
    HumanMessage("What is the capital of Peru?"),
    AIMessage("The capital of Peru is Lima."),
    HumanMessage(QUESTION),
]


class Capital(BaseModel):
    """What a reply keeps to."""

    capital: str = Field(max_length=40)


def main() -> None:
    """Ask in several ways."""
    model = ChatOpenAI(model="factbook", temperature=0, max_retries=0)
    rated = model.bind(logprobs=True, top_logprobs=2).invoke(QUESTION)
    kept = model.with_structured_output(Capital).invoke(QUESTION)
    text = OpenAI(model="factbook", temperature=0, max_tokens=8)
    steered = ChatOpenAI(model="factbook", temperature=0, extra_body={"alpha": 0.5})
    by_responses = ChatOpenAI(model="factbook", temperature=0, use_responses_api=True)
    try:
        ChatOpenAI(model="gpt-4o", max_retries=0).invoke(QUESTION)
        error = None
    except NotFoundError as caught:
        error = caught.code
    found = {
        "chat": model.invoke(QUESTION).text,
        "stream": "".join(each.text for each in model.stream(QUESTION)),
        "asyncio": asyncio.run(model.ainvoke(QUESTION)).text,
        "batch": [each.text for each in model.batch([QUESTION, QUESTION])],
        "talk": model.invoke(TALK).text,
        "logprobs": [each["logprob"] for each in rated.response_metadata["logprobs"]["content"]],
        "schema": kept.model_dump(),
        "steered": steered.invoke(QUESTION).text,
        "responses": by_responses.invoke(QUESTION).text,
        "completion": text.invoke("The capital of"),
        "error": error,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
