"""What one example may look like, as the tools that people come from write them.

    messages                        OpenAI's: [{"role": ..., "content": ...}, ...]
    conversations                   sharegpt's: [{"from": "human", "value": ...}, ...]
    question, answer                the answer may be a list, of which the first is learnt
    prompt, completion
    instruction, input, output      alpaca's; the input may be missing or empty
    two columns or keys             those that a user names

All but the first may have a `system` text beside these. Other keys are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from edgeproxy.core.utf8 import check_text
from edgeproxy.errors import UsageError
from edgeproxy.prompts.messages import Message, RoleName

Fields = Mapping[str, object]
"""One record of a file: what it says, by key or by column."""

Said = list[tuple[RoleName, object]]
"""Who says what; the contents are not checked yet."""

_OPENAI_ROLES: Mapping[str, RoleName] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
_SHAREGPT_ROLES: Mapping[str, RoleName] = {
    **_OPENAI_ROLES,
    **dict.fromkeys(("human",), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "model", "bot"), "assistant"),
}


@dataclass(frozen=True)
class Layout:
    """A way to write an example.

    - `name`: what it is called, such as "question and answer".
    - `needs`: the keys that it is known by.
    - `said`: reads a record that has them. Raises `UsageError` saying what is wrong.
    """

    name: str
    needs: tuple[str, ...]
    said: Callable[[Fields], Said]

    def fits(self, fields: Fields) -> bool:
        """Whether all that it needs is there."""
        return all(key in fields for key in self.needs)

    def conversation(self, fields: Fields) -> tuple[Message, ...]:
        """The messages of a record, the last one an assistant's. Raises `UsageError`."""
        said = self.said(fields)
        system = fields.get("system")
        if "system" not in self.needs and system and all(role != "system" for role, _ in said):
            said = [("system", system), *said]
        return _checked(said)


def choose_layout(
    fields: Fields, seen: Layout | None = None, columns: Sequence[str] | None = None
) -> Layout:
    """The layout of a record: that of the file, if one was `seen`, or the first that fits.

    `columns` are the two that a user has named. Raises `UsageError` for a record of another layout
    than the file's, and for one of none.
    """
    if seen is not None and seen.fits(fields):
        return seen
    known = LAYOUTS if columns is None else (two_keys(columns[0], columns[1]),)
    found = next((layout for layout in known if layout.fits(fields)), None)
    if seen is not None:
        missing = next(key for key in seen.needs if key not in fields)
        other = f", but {found.name}" if found else ""
        raise UsageError(f"the file is of {seen.name}, and here is no {missing!r}{other}")
    if found is None:
        wanted = "; ".join(layout.name for layout in known[:_NAMED])
        raise UsageError(f"here are {_listed(fields)} and not those of an example ({wanted})")
    return found


def table_columns(header: Sequence[str]) -> tuple[str, ...] | None:
    """The columns of a table that are known to hold an example, if there are some."""
    names = dict.fromkeys(header)
    return next((layout.needs for layout in LAYOUTS if layout.fits(names)), None)


def two_keys(question: str, answer: str) -> Layout:
    """The layout of a question and an answer under these keys."""
    said = partial(_question_and_answer, question, answer)
    return Layout(f"{question} and {answer}", (question, answer), said)


def _question_and_answer(question: str, answer: str, fields: Fields) -> Said:
    reply = fields[answer]
    if isinstance(reply, list):
        if not reply:
            raise UsageError(f"{answer} is an empty list")
        reply = reply[0]
    return [
        ("user", _text(fields[question], question)),
        ("assistant", _text(reply, answer)),
    ]


def _alpaca(fields: Fields) -> Said:
    asked = [_text(fields["instruction"], "instruction"), _text(fields.get("input") or "", "input")]
    return [
        ("user", "\n\n".join(text for text in asked if text.strip())),
        ("assistant", _text(fields["output"], "output")),
    ]


def _messages(fields: Fields) -> Said:
    return _turns(fields, "messages", _OPENAI_ROLES, ("role",), ("content",))


def _conversations(fields: Fields) -> Said:
    return _turns(fields, "conversations", _SHAREGPT_ROLES, ("from", "role"), ("value", "content"))


def _turns(
    fields: Fields,
    key: str,
    roles: Mapping[str, RoleName],
    role_keys: tuple[str, ...],
    content_keys: tuple[str, ...],
) -> Said:
    """The turns of a list of objects. Raises `UsageError` for whatever is more than text."""
    for tools in ("tools", "functions"):
        if fields.get(tools):
            raise UsageError(f"it has {tools}, which are not learnt")
    turns = fields[key]
    if not isinstance(turns, list):
        raise UsageError(f"{key} must be a list")
    return [_turn(turn, roles, role_keys, content_keys) for turn in turns]


def _turn(
    turn: object,
    roles: Mapping[str, RoleName],
    role_keys: tuple[str, ...],
    content_keys: tuple[str, ...],
) -> tuple[RoleName, object]:
    if not isinstance(turn, dict):
        raise UsageError(f'a message is {{"{role_keys[0]}": ..., "{content_keys[0]}": ...}}')
    name = next((turn[key] for key in role_keys if key in turn), None)
    role = roles.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise UsageError(f"there is a message of {_shown(name)}; roles are {', '.join(roles)}")
    for calls in ("tool_calls", "function_call"):
        if turn.get(calls):
            raise UsageError(f"a message has {calls}, which are not learnt")
    if turn.get("weight") == 0:
        raise UsageError("a message has the weight 0; all replies are learnt")
    content = next((turn[key] for key in content_keys if key in turn), None)
    if isinstance(content, list):
        content = "".join(map(_part, content))
    return role, content


def _part(part: object) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or kind != "text":
        raise UsageError(f"a message has a part of the type {_shown(kind)}; only text is learnt")
    return _text(part.get("text"), "a part's text")


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name} must be text")
    return value


def _checked(said: Said) -> tuple[Message, ...]:
    """The messages of a conversation that ends with a reply. Raises `UsageError`."""
    messages: list[Message] = []
    for role, content in said:
        text = check_text(_text(content, f"what the {role} says"), f"what the {role} says")
        if text.strip():
            messages.append(Message(role, text))
        elif role != "system":  # no instructions, as many files write it
            raise UsageError(f"what the {role} says is empty")
    roles = [message.role for message in messages if message.role != "system"]
    if "user" not in roles:
        raise UsageError("no user says anything")
    if messages[-1].role != "assistant":
        raise UsageError(f"it ends with the {messages[-1].role}, not with an assistant's reply")
    if roles[0] != "user":
        raise UsageError("it begins with an assistant; a user must speak before a reply")
    return tuple(messages)


def _shown(name: object) -> str:
    """A name of a file's in a message, however long and whatever it is."""
    return repr(name[:40]) if isinstance(name, str) else "no name"


def _listed(fields: Fields) -> str:
    """The keys of a record, of which there may be many, and long ones."""
    keys = [_shown(key) for key in list(fields)[:8]]
    return ("the keys " + ", ".join(keys)) if keys else "no keys"


_PAIRS = (
    *(("question", "answer"), ("prompt", "completion")),
    *(("prompt", "response"), ("question", "response"), ("instruction", "response")),
    *(("query", "response"), ("input", "output"), ("user", "assistant")),
    *(("frage", "antwort"), ("question", "réponse"), ("pregunta", "respuesta")),
    *(("pergunta", "resposta"), ("domanda", "risposta"), ("vraag", "antwoord")),
    *(("вопрос", "ответ"), ("питання", "відповідь"), ("soru", "cevap"), ("سؤال", "جواب")),
    *(("问题", "答案"), ("问题", "回答"), ("質問", "回答"), ("질문", "답변"), ("คำถาม", "คำตอบ")),
)

LAYOUTS = (
    Layout("messages", ("messages",), _messages),
    Layout("conversations", ("conversations",), _conversations),
    Layout("instruction, input and output", ("instruction", "output"), _alpaca),
    *(two_keys(question, answer) for question, answer in _PAIRS),
)
"""The layouts that are seen without being told, in this order."""

_NAMED = 5
"""How many of them an error names."""
