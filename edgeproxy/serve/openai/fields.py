"""The tables of fields: all that OpenAI's protocol has, and what edgeproxy adds.

A field is honoured, or taken because its value asks for nothing special, or refused with its name;
a field that is in no table is refused too. The readers and the OpenAPI document use these tables.
"""

from __future__ import annotations

from edgeproxy.serve.openai.kinds import Choice, Never, Number, Only, Text, Truth, Whole
from edgeproxy.serve.openai.shapes import (
    Biases,
    Data,
    Field,
    Fields,
    Listed,
    Notes,
    Object,
    Tagged,
    TextOr,
    TextOrTokens,
)
from edgeproxy.trios.manifest.recipe import READERS

MOST_MESSAGES = 4096
MOST_CHARACTERS = 1 << 21
"""Of one text, and of all the messages of a request together: 2,097,152."""
MOST_PARTS = 256
MOST_TOKENS = 1 << 20
MOST_STOPS, LONGEST_STOP = 16, 1000
"""OpenAI itself takes four stop texts."""
MOST_BIASED, LARGEST_BIAS = 300, 100.0
MOST_BEST = 20
"""So many of a token's likeliest rivals can be asked for."""
LARGEST = 2**31 - 1
SEEDS = 2**63
LARGEST_ALPHA = 100.0
LONGEST_GRAMMAR = 1 << 18
_LONGEST_NAME, _LONGEST_HINT = 256, 512

_TEXT_ONLY = "this server reads and writes text alone"
_NO_TOOLS = "this server calls no tools"
_ONE = "this server gives one answer to a request; ask again for another"
_STATELESS = "this server keeps nothing between requests; send the whole conversation"
_NO_REASONING = "the models are steered by alpha and base_weight, and have no effort to choose"
_UNKNOWN_HINT = "this server does not do that"

_NAME = Text(_LONGEST_NAME, 1)
_HINT = Text(_LONGEST_HINT)
_LONG = Text(MOST_CHARACTERS)
_NO_LIST = Only([[]], _NO_TOOLS)

MODEL: Fields = {
    "model": Field(_NAME, "The trio's name, or NAME:ROLE for one model alone; usually the trio."),
}

HINTS: Fields = {
    "user": Field(_HINT, "Taken, and changes nothing."),
    "safety_identifier": Field(_HINT, "Taken, and changes nothing."),
    "prompt_cache_key": Field(_HINT, "Taken, and changes nothing: what was read is kept anyway."),
    "prompt_cache_retention": Field(Only(["in_memory"], "prompts are kept in memory alone")),
    "prompt_cache_options": Field(Never(_UNKNOWN_HINT)),
    "service_tier": Field(Only(["auto", "default"], "this server has one tier")),
    "metadata": Field(
        Notes(16, Text(64), Text(512)), "Comes back in the answer; nothing else is done with it."
    ),
    "moderation": Field(Never("this server moderates nothing")),
}

NO_TOOLS: Fields = {
    "tools": Field(_NO_LIST),
    "tool_choice": Field(Only(["none", "auto"], _NO_TOOLS)),
    "parallel_tool_calls": Field(Truth(), "Taken, and changes nothing: no tools are called."),
}

DRAWING: Fields = {
    "temperature": Field(
        Number(0.0, 2.0),
        "0 takes the likeliest token. Where it is given, tokens are drawn from the distribution as "
        "it is, so that top_k and min_p are off unless they are asked for; where it is not, they "
        "are drawn as the trio's manifest says.",
    ),
    "top_p": Field(Number(0.0, 1.0), "The likeliest tokens that have this share together."),
    "top_k": Field(Whole(0, LARGEST), "The so many likeliest tokens; 0 is off.", False, True),
    "min_p": Field(Number(0.0, 1.0), "Tokens this likely next to the best one.", False, True),
}

PENALTIES: Fields = {
    "frequency_penalty": Field(Number(-2.0, 2.0), "Against tokens by how often they were said."),
    "presence_penalty": Field(Number(-2.0, 2.0), "Against tokens that were said."),
    "repeat_penalty": Field(Number(0.01, 100.0), "llama.cpp's; 1 is off.", False, True),
    "repeat_last_n": Field(
        Whole(0, 1_000_000),
        "Penalties look at so many last tokens of the reply; at all of them where OpenAI's are "
        "asked for.",
        False,
        True,
    ),
    "dry_multiplier": Field(Number(0.0, 100.0), "The DRY penalty; 0 is off.", False, True),
    "dry_base": Field(Number(1.0, 100.0), "", False, True),
    "dry_allowed_length": Field(Whole(1, 1_000_000), "", False, True),
    "dry_last_n": Field(Whole(0, 1_000_000), "", False, True),
    "logit_bias": Field(Biases(MOST_BIASED, LARGEST_BIAS), "Added to the logits of tokens, by id."),
    "seed": Field(Whole(-SEEDS, SEEDS - 1), "The same seed draws the same tokens."),
}

SAMPLING: Fields = {**DRAWING, **PENALTIES}

STEERING: Fields = {
    "alpha": Field(
        Number(-LARGEST_ALPHA, LARGEST_ALPHA), "The weight of the pair's opinion.", False, True
    ),
    "base_weight": Field(
        Number(0.0, 1.0), "The weight of what base and anti-expert say.", False, True
    ),
    "plausibility": Field(
        Number(0.0, 1.0), "Drops what the expert finds less likely than this.", False, True
    ),
    "docs_to": Field(Choice(READERS), "Who reads the server's documents.", False, True),
    "grammar": Field(
        Text(LONGEST_GRAMMAR, 1), "A grammar that replies keep to: GBNF or Lark.", False, True
    ),
}

_SCHEMA: Fields = {
    "name": Field(Text(64, 1, "^[a-zA-Z0-9_-]+$")),
    "description": Field(_LONG),
    "schema": Field(
        Data(),
        "A JSON Schema that the reply keeps to. Objects have no properties but those it names, "
        "unless additionalProperties says otherwise.",
        True,
    ),
    "strict": Field(Truth(), "Taken, and changes nothing: replies always keep to the schema."),
}

FORMAT = Tagged(
    {
        "text": {},
        "json_object": {},
        "json_schema": {"json_schema": Field(Object(_SCHEMA), "", True)},
    }
)

_STOP = Text(LONGEST_STOP, 1)

_STREAM: Fields = {
    "stream": Field(Truth(), "Whether the answer comes piece by piece, as server-sent events."),
}
_OBFUSCATION = Field(Only([False], "this server pads no events"))

_GENERATING: Fields = {
    **_STREAM,
    "stream_options": Field(
        Object(
            {
                "include_usage": Field(Truth(), "Whether a last chunk tells the tokens."),
                "include_obfuscation": _OBFUSCATION,
            }
        ),
        "For streams alone.",
    ),
    "return_progress": Field(
        Truth(),
        "Whether a stream tells the place in the queue, and how much of the prompt was read.",
        False,
        True,
    ),
    "stop": Field(
        TextOr(_STOP, Listed(_STOP, MOST_STOPS)), "Texts that end the reply; up to 16 of them."
    ),
    "n": Field(Only([1], _ONE)),
    "store": Field(Only([False], _STATELESS)),
}

_PART: Fields = {
    "text": Field(_LONG, "", True),
    "prompt_cache_breakpoint": Field(Never(_UNKNOWN_HINT)),
}

MESSAGE: Fields = {
    "role": Field(Choice(["system", "developer", "user", "assistant"]), "", True),
    "content": Field(
        TextOr(_LONG, Listed(Tagged({"text": _PART}), MOST_PARTS, 1)),
        "Text, or parts of text, which are joined by line breaks.",
        True,
    ),
    "name": Field(Never("the models are not told names; write them into the content")),
    # lm-evaluation-harness writes it.
    "type": Field(Only(["text", "message"], _TEXT_ONLY)),
    "refusal": Field(Never(_TEXT_ONLY)),
    "annotations": Field(Only([[]], _TEXT_ONLY)),
    "audio": Field(Never(_TEXT_ONLY)),
    "tool_calls": Field(_NO_LIST),
    "tool_call_id": Field(Never(_NO_TOOLS)),
    "function_call": Field(Never(_NO_TOOLS)),
}

EXPLAIN = Field(
    Truth(), "Whether what each model said for every token comes with the answer.", False, True
)

CHAT: Fields = {
    **MODEL,
    "messages": Field(Listed(Object(MESSAGE), MOST_MESSAGES, 1), "The conversation.", True),
    **_GENERATING,
    "max_tokens": Field(Whole(1, LARGEST), "The older name of max_completion_tokens."),
    "max_completion_tokens": Field(
        Whole(1, LARGEST), "The longest reply; a server may have a limit of its own below it."
    ),
    "logprobs": Field(Truth(), "Whether each token's log-probability is told."),
    "top_logprobs": Field(Whole(0, MOST_BEST), "So many of the likeliest tokens are told too."),
    "response_format": Field(FORMAT, "What the reply keeps to."),
    **SAMPLING,
    **STEERING,
    "explain": EXPLAIN,
    **HINTS,
    **NO_TOOLS,
    "functions": Field(_NO_LIST),
    "function_call": Field(Only(["none", "auto"], _NO_TOOLS)),
    "modalities": Field(Only([["text"]], _TEXT_ONLY)),
    "audio": Field(Never(_TEXT_ONLY)),
    "prediction": Field(Never("drafts are the expert's here")),
    "web_search_options": Field(Never("this server searches nothing but its own documents")),
    "reasoning_effort": Field(Only(["none"], _NO_REASONING)),
    "verbosity": Field(Only(["medium"], _NO_REASONING)),
}

EXPLAINED: Fields = {name: field for name, field in CHAT.items() if name != "explain"}

COMPLETIONS: Fields = {
    **MODEL,
    "prompt": Field(
        TextOrTokens(Text(MOST_CHARACTERS, 1), MOST_TOKENS, LARGEST),
        "What the reply goes on with, as it stands, by no prompt format: one text, or the ids of "
        "its tokens, of which only the first may be a special one.",
        True,
    ),
    **_GENERATING,
    "max_tokens": Field(
        Whole(0, LARGEST), "The longest reply; 16 where it is not given, and 0 with echo alone."
    ),
    "logprobs": Field(
        Whole(0, MOST_BEST),
        "So many of the likeliest tokens are told, and the one drawn; with echo those of the "
        "prompt too, where the mask of plausibility is left out.",
    ),
    "best_of": Field(Only([1], _ONE)),
    "echo": Field(Truth(), "Whether the answer begins with the prompt."),
    "suffix": Field(Only([""], "the models only go on with a text, and fill no gaps")),
    "response_format": Field(FORMAT, "What the reply keeps to.", False, True),
    **SAMPLING,
    **STEERING,
    "user": HINTS["user"],
}

TOKENIZED: Fields = {
    **MODEL,
    "prompt": Field(
        Text(MOST_CHARACTERS, 1),
        "A text; one that is no more than the name of a special token that /tokenizer_info has is "
        "that token.",
        True,
    ),
    "add_special_tokens": Field(
        Truth(), "Whether a beginning-of-text token stands before it, where the model has one."
    ),
    "return_token_strs": Field(Only([False], "/detokenize says what tokens are")),
}

DETOKENIZED: Fields = {
    **MODEL,
    "tokens": Field(Listed(Whole(0, LARGEST), MOST_TOKENS), "The ids of tokens.", True),
}

CANCEL: Fields = {
    "id": Field(_NAME, "The reply's own id, as its answer, its chunks and X-Reply-Id say.", True),
}

LOGPROBS = "message.output_text.logprobs"

_INPUT_PART: Fields = {
    **_PART,
    "annotations": Field(Only([[]], _TEXT_ONLY)),
    "logprobs": Field(Listed(Data(), LARGEST), "Taken, and changes nothing."),
}

INPUT_MESSAGE: Fields = {
    "role": MESSAGE["role"],
    "content": Field(
        TextOr(
            _LONG,
            Listed(Tagged({"input_text": _PART, "output_text": _INPUT_PART}), MOST_PARTS, 1),
        ),
        "Text, or parts of text, which are joined by line breaks.",
        True,
    ),
    "id": Field(_HINT, "Taken, and changes nothing."),
    "status": Field(Choice(["in_progress", "completed", "incomplete"]), "Changes nothing."),
    "phase": Field(Never(_UNKNOWN_HINT)),
}

RESPONSE_FORMAT = Tagged({"text": {}, "json_object": {}, "json_schema": _SCHEMA})

_INPUT = TextOr(
    Text(MOST_CHARACTERS, 1),
    Listed(Tagged({"message": INPUT_MESSAGE}, "message"), MOST_MESSAGES, 1),
)

RESPONSES: Fields = {
    **MODEL,
    "input": Field(_INPUT, "A question, or a conversation.", True),
    "instructions": Field(_LONG, "A system message before all others."),
    **_STREAM,
    "stream_options": Field(Object({"include_obfuscation": _OBFUSCATION}), "For streams alone."),
    "max_output_tokens": Field(Whole(1, LARGEST), "The longest reply."),
    "text": Field(
        Object(
            {
                "format": Field(RESPONSE_FORMAT, "What the reply keeps to."),
                "verbosity": Field(Only(["medium"], _NO_REASONING)),
            }
        )
    ),
    "include": Field(
        Listed(Choice([LOGPROBS]), 1), "Whether each token's log-probability is told."
    ),
    "top_logprobs": Field(Whole(0, MOST_BEST), "So many of the likeliest tokens are told too."),
    "store": Field(Only([False], _STATELESS), "Nothing is kept, whether it is given or not."),
    "previous_response_id": Field(Never(_STATELESS)),
    "conversation": Field(Never(_STATELESS)),
    "prompt": Field(Never(_STATELESS)),
    "truncation": Field(Only(["disabled"], "what does not fit is an error here")),
    "background": Field(Only([False], _STATELESS)),
    "background_options": Field(Never(_STATELESS)),
    "context_management": Field(Never(_STATELESS)),
    "max_tool_calls": Field(Never(_NO_TOOLS)),
    "image": Field(Never(_TEXT_ONLY)),
    "access_programs": Field(Never(_UNKNOWN_HINT)),
    "reasoning": Field(
        Object(
            {
                "effort": Field(Only(["none"], _NO_REASONING)),
                "summary": Field(Never(_NO_REASONING)),
                "generate_summary": Field(Never(_NO_REASONING)),
            }
        )
    ),
    **SAMPLING,
    **STEERING,
    **HINTS,
    **NO_TOOLS,
}

RESPONSES_COUNTED: Fields = {
    **RESPONSES,
    "personality": Field(Never("write it into the instructions")),
}
