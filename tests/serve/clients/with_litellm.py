"""What litellm does with a server of edgeproxy's: python with_litellm.py [QUESTION]; prints JSON.

OPENAI_BASE_URL is the server's address with /v1, OPENAI_API_KEY its key. With
LITELLM_LOCAL_MODEL_COST_MAP=True litellm asks nobody else what models cost.
"""

import asyncio
import json
import os
import sys
from typing import Any

import litellm

QUESTION = [*sys.argv[1:], "What is the capital of Mongolia?"][0]
ASKED: Any = {
    "model": "openai/factbook",  # "openai" is the protocol
    "api_base": os.environ["OPENAI_BASE_URL"],
    "messages": [{"role": "user", "content": QUESTION}],
    "temperature": 0,
    "num_retries": 0,
}
SCHEMA = {
    "type": "object",
    "properties": {"capital": {"type": "string", "maxLength": 40}},
    "required": ["capital"],
    "additionalProperties": False,
}


def main() -> None:
    """Ask in several ways."""
    whole = litellm.completion(**ASKED)
    chunks = litellm.completion(**ASKED, stream=True, stream_options={"include_usage": True})
    later = asyncio.run(litellm.acompletion(**ASKED))
    rated = litellm.completion(**ASKED, logprobs=True, top_logprobs=2)
    schema = {"type": "json_schema", "json_schema": {"name": "one", "schema": SCHEMA}}
    kept = litellm.completion(**ASKED, response_format=schema)
    steered = litellm.completion(**ASKED, extra_body={"alpha": 0.5})
    try:
        litellm.completion(**{**ASKED, "model": "openai/gpt-4o"})
        error = None
    except litellm.NotFoundError as caught:
        error = caught.status_code
    found = {
        "chat": whole.choices[0].message.content,
        "tokens": whole.usage.total_tokens,
        "stream": "".join(each.choices[0].delta.content or "" for each in chunks if each.choices),
        "asyncio": later.choices[0].message.content,
        "logprobs": [each.logprob for each in rated.choices[0].logprobs.content],
        "schema": json.loads(kept.choices[0].message.content),
        "steered": steered.choices[0].finish_reason,
        "error": error,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
