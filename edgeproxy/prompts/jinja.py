"""A model file's own chat template (Jinja), rendered where it can do no harm.

No escape from the sandbox is known, but nested loops and huge powers can hang or eat all memory,
and only a process that can be killed stops them. So `render` runs this module as a child.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeproxy.errors import PromptError

_SECONDS = 10.0
_MEMORY_BYTES = 1 << 30
_MAX_TEMPLATE = 1 << 17
_MAX_OUTPUT = 1 << 20


def render(template: str, messages: Sequence[tuple[str, str]], seconds: float = _SECONDS) -> str:
    """The prompt text for (role, content) pairs, the assistant's turn opened at the end.

    Raises `PromptError` when the template refuses, fails, or takes over `seconds` or 1 GB.
    """
    if len(template) > _MAX_TEMPLATE:
        raise PromptError("the model's chat template is too long; choose a prompt format by name")
    job = {
        "template": template,
        "messages": [{"role": role, "content": content} for role, content in messages],
    }
    try:
        child = subprocess.run(
            [sys.executable, "-c", "from edgeproxy.prompts.jinja import main; main()"],
            input=json.dumps(job).encode(),
            capture_output=True,
            timeout=seconds,
            cwd=Path(__file__).parents[2],
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PromptError(
            f"the model's chat template did not finish in {seconds:g} seconds; "
            "choose a prompt format by name"
        ) from None
    if child.returncode != 0:
        lines = child.stderr.decode(errors="replace").strip().splitlines()
        # The template chose these words: they must neither steer a terminal nor fill it.
        said = "".join(filter(str.isprintable, lines[-1][:300])) if lines else ""
        why = said or f"exit code {child.returncode}"
        raise PromptError(f"the model's chat template failed ({why}); choose a format by name")
    return child.stdout.decode()


def main() -> None:
    """The child: a job as JSON on standard input, the text on standard output."""
    _limit_memory()
    job = json.load(sys.stdin.buffer)
    text = _render_here(job["template"], job["messages"])
    if len(text) > _MAX_OUTPUT:
        sys.exit("its output is too long")
    sys.stdout.buffer.write(text.encode())


def _limit_memory() -> None:
    if sys.platform == "win32":
        return  # there the time limit alone holds
    import resource

    # macOS may refuse: there the time limit alone holds too.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def _render_here(template: str, messages: list[dict[str, str]]) -> str:
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    del environment.globals["lipsum"]
    environment.globals["raise_exception"] = refuse
    # The tokenizer adds the beginning-of-text token; a template must not add a second.
    return environment.from_string(template).render(
        messages=messages, add_generation_prompt=True, bos_token="", eos_token=""
    )
