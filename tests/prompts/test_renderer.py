"""The child that renders templates: what they see, and that a hostile one only harms itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import pytest

from edgeproxy.children import python
from edgeproxy.errors import PromptError
from edgeproxy.prompts.jinja import render_here
from edgeproxy.prompts.renderer import Renderer

MESSAGES = (("user", "Hello"), ("assistant", "Hi!"), ("user", "Bye"))
NOW = datetime(2026, 3, 9, 12, 30)
HANGS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer(now=lambda: NOW) as made:
        yield made


def here(template: str, content: str = "Hello", twins: dict[str, str] | None = None) -> str:
    """As the child does it, in this process."""
    messages = [{"role": "user", "content": content}]
    return render_here(template, messages, {"now": NOW.isoformat()}, twins or {})


def test_a_template_sees_roles_contents_and_that_the_assistant_is_next(renderer: Renderer) -> None:
    template = (
        "{% for m in messages %}{{ m['role'] }}={{ m.content }};{% endfor %}"
        "{{ add_generation_prompt }}"
    )
    assert renderer.render(template, MESSAGES) == "user=Hello;assistant=Hi!;user=Bye;True"
    said = renderer.render(template, MESSAGES[:1], add_generation_prompt=False)
    assert said == "user=Hello;False"


def test_blocks_are_trimmed_as_chat_templates_expect() -> None:
    template = (
        "{% for m in messages %}\n    {% if true %}\n{{ m.role }}\n    {% endif %}\n{% endfor %}"
    )
    assert here(template) == "user\n"


def test_loops_may_be_left_and_gone_on_with(renderer: Renderer) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% continue %}{% endif %}"
        "{{ m.content }}{% if loop.index0 == 2 %}{% break %}{% endif %}{% endfor %}"
    )
    assert renderer.render(template, [*MESSAGES, *MESSAGES]) == "HelloBye"


def test_special_tokens_are_given_by_their_texts(renderer: Renderer) -> None:
    texts = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    template = "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ unk_token is defined }}"
    assert renderer.render(template, MESSAGES, texts) == "<s></s><pad>False"


def test_the_date_is_the_callers_local_one(renderer: Renderer) -> None:
    template = "{{ strftime_now('%d %b %Y, %H:%M') }}"
    assert renderer.render(template, MESSAGES) == "09 Mar 2026, 12:30"
    with Renderer() as today:
        before = datetime.now().strftime("%Y-%m-%d")
        told = today.render("{{ strftime_now('%Y-%m-%d') }}", MESSAGES)
        assert told in (before, datetime.now().strftime("%Y-%m-%d"))


def test_the_generation_tag_is_its_body() -> None:
    template = (
        "a{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}b"
    )
    assert here(template) == "aHellob"
    assert here("a\n{% generation %}\nb\n{%- endgeneration %}\nc") == "a\nbc"


def test_there_are_no_tools_and_no_documents() -> None:
    template = "{{ tools is none }} {{ documents is none }}{% if tools %}x{% endif %}"
    assert here(template) == "True True"


def test_json_is_written_as_models_have_read_it() -> None:
    assert here("{{ ['é', '<', 'a&b'] | tojson }}") == '["é", "<", "a&b"]'
    value = {"b": 1, "a": [2]}
    got = here("{{ {'b': 1, 'a': [2]} | tojson(indent=2, sort_keys=true) }}")
    assert got == json.dumps(value, indent=2, sort_keys=True)


def test_any_text_comes_back_as_it_went_in(renderer: Renderer) -> None:
    content = "é€𝄞 \x00 \u2028 {{ 1 }} <|im_end|> \\n \r\n"
    assert renderer.render("{{ messages[0].content }}", [("user", content)]) == content


def test_half_a_surrogate_pair_is_refused(renderer: Renderer) -> None:
    with pytest.raises(PromptError, match="surrogate"):
        renderer.render("x", [("user", "a\ud800b")])


TWINS = {"<": "\ue000", ">": "\ue001"}


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{{ c }}", "[think]a[/think] b "),
        ("{{ c.split('</think>')[-1].strip() }}", "b"),
        ("{{ c.split('</think>')[0].split('<think>')[-1] }}", "a"),
        ("{{ (c.split('</think>')|last)|trim }}", "b"),
        ("{{ c.partition('</think>')[2] }}", " b "),
        ("{{ '</think>' in c }} {{ c.startswith(('x', '<')) }}", "True True"),
        ("{{ c.find('</think>') }} {{ c == '<think>a</think> b ' }} {{ c != '<' }}", "8 True True"),
        ("{{ c.replace('</think>', '<done>') }}", "[think]a<done> b "),
        ("{{ c | replace('<think>', '') }}", "a[/think] b "),
        (
            "{{ c[0] == '<' }} {{ ('x' + c)[1] == '<' }} {{ (c + 'x')[:2] == '<t' }}",
            "True True True",
        ),
        ("{{ '<' + c + '>' }}", "<[think]a[/think] b >"),
        ("{{ '<' ~ c ~ '>' }}", "<[think]a[/think] b >"),
        ("{{ '<%s>' | format(c) }}", "<[think]a[/think] b >"),
        ("{{ '<{}>'.format(c) }}", "<[think]a[/think] b >"),
        ("{{ c | upper }}", "[THINK]A[/THINK] B "),
        ("{{ [c, '<'] | join('>') }}", "[think]a[/think] b ><"),
        ("{% set d %}<{{ c }}{% endset %}{{ d | trim }}", "<[think]a[/think] b"),
        ("{{ c | length }}", "19"),
        ("{{ c is string }}", "True"),
        ("{{ c | tojson }}", '"[think]a[/think] b "'),
        ("{{ c.removeprefix('<think>').rsplit('</', 1)[0] }}", "a"),
    ],
)
def test_a_template_finds_in_a_content_what_is_hidden_there(template: str, shown: str) -> None:
    """What of the text a content brought is still told from the template's own: here as [ and ]."""
    content = "\ue000think\ue001a\ue000/think\ue001 b "
    got = here("{% set c = messages[0].content %}" + template, content, TWINS)
    assert got.replace("\ue000", "[").replace("\ue001", "]") == shown


def test_a_template_that_refuses_says_why(renderer: Renderer) -> None:
    with pytest.raises(PromptError, match="roles must alternate"):
        renderer.render("{{ raise_exception('roles must alternate') }}", MESSAGES)


def test_what_a_template_says_cannot_steer_the_terminal(renderer: Renderer) -> None:
    with pytest.raises(PromptError) as error:
        renderer.render("{{ raise_exception('red \\x1b[31m \\x07 ' + 'x' * 100000) }}", MESSAGES)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "template",
    ["{% if %}", "{{ nothing.at.all }}", "{% include 'x' %}", "{{ lipsum() }}", "{{ '\\ud800' }}"],
)
def test_a_broken_template_is_a_prompt_error(renderer: Renderer, template: str) -> None:
    with pytest.raises(PromptError, match=r"template failed .*; choose a prompt format by name"):
        renderer.render(template, MESSAGES)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''['__class__'] }}",
        "{{ (''|attr('__class__')).__mro__[1].__subclasses__() }}",
        "{{ raise_exception.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ '{0.__class__.__mro__}'.format('') }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='system') }}",
        "{{ messages[0].content.split.__func__ }}",
        "{{ messages[0].content.__class__.__mro__ }}",
        "{{ '{0.__class__}'.format(messages[0].content) }}",
        "{{ messages[0].content.format.__self__.__class__ }}",
        "{{ strftime_now.__self__.__class__ }}",
        "{{ ().__class__.__bases__[0].__subclasses__() }}",
        "{{ joiner.__init__.__globals__ }}",
        "{{ range.__class__.__base__ }}",
        "{{ messages | map(attribute='__class__') | join }}",
        "{{ ''|attr('__cl' ~ 'ass__')|attr('__mro__') }}",
        "{{ '{a.__class__}'.format_map({'a': ''}) }}",
        "{{ self._TemplateReference__context.environment.sandboxed }}",
        "{% macro f() %}{% endmacro %}{{ f.__init__.__globals__ }}{{ f._func.__globals__ }}",
        "{% set add = [].append %}{{ add.__self__.__class__ }}",
        "{{ namespace(a=1).__dict__ }}",
        "{% for x in [1] %}{{ loop.__class__.__init__.__globals__ }}{% endfor %}",
        "{% import 'os' as os %}{{ os.popen('id') }}",
        "{% extends '/etc/passwd' %}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(template: str) -> None:
    try:
        shown = here(template)
    except (jinja2.TemplateError, TypeError):
        return
    assert shown == "", "what is unsafe is undefined, which shows as nothing"


@pytest.mark.parametrize(
    "template",
    [
        HANGS,
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{% for a in range(99999) %}"
        "{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{{ 9 ** (9 ** 9) }}",
    ],
    ids=["loops", "loops that write", "powers"],
)
@pytest.mark.slow
def test_a_template_that_does_not_end_is_ended(template: str) -> None:
    with Renderer(seconds=1.0) as renderer:
        with pytest.raises(PromptError, match=r"did not finish in 1 seconds|template failed"):
            renderer.render(template, MESSAGES)
        assert renderer.render("x", MESSAGES) == "x", "another child renders the next"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ 'x' * (2 * 10 ** 9) }}", "MemoryError"),
        ("{{ 'x'.center(2 * 10 ** 9) }}", "MemoryError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ 'x' * 5000000 }}", "output is too long"),
    ],
)
def test_a_template_that_wants_all_memory_gets_an_error(
    renderer: Renderer, template: str, why: str
) -> None:
    with pytest.raises(PromptError, match=f"template failed .*{why}"):
        renderer.render(template, MESSAGES)
    assert renderer.render("x", MESSAGES) == "x"


def test_long_contents_are_no_long_output(renderer: Renderer) -> None:
    content = "long " * 400_000
    assert renderer.render("{{ messages[0].content }}", [("user", content)]) == content


def test_a_template_that_is_too_long_is_refused(renderer: Renderer) -> None:
    with pytest.raises(PromptError, match="too long"):
        renderer.render("x" * 200_000, MESSAGES)


def process_of(renderer: Renderer) -> subprocess.Popen[bytes]:
    renderer.render("x", MESSAGES)
    child: Any = renderer._child
    process: subprocess.Popen[bytes] = child._process
    return process


def test_one_child_renders_all_and_ends_with_the_renderer() -> None:
    renderer = Renderer()
    assert renderer._child is None, "nothing is started before it is needed"
    process = process_of(renderer)
    assert process_of(renderer) is process
    renderer.close()
    renderer.close()
    assert process.poll() is not None
    assert process_of(renderer) is not process
    renderer.close()


def test_a_forgotten_renderer_ends_its_child() -> None:
    renderer = Renderer()
    process = process_of(renderer)
    del renderer
    assert process.poll() is not None


def test_a_child_that_died_is_replaced() -> None:
    with Renderer() as renderer:
        first = process_of(renderer)
        first.kill()
        first.wait()
        second = process_of(renderer)
        assert second is not first


def test_a_child_that_dies_while_it_renders_is_an_error_and_replaced() -> None:
    with Renderer(seconds=60.0) as renderer:
        process = process_of(renderer)
        child: Any = renderer._child
        child._stdin = Killing(process)
        with pytest.raises(PromptError, match=r"template failed .*exit code -?[0-9]"):
            renderer.render(HANGS, MESSAGES)
        assert renderer.render("x", MESSAGES) == "x"


class Killing:
    """A child's standard input: the child is killed by whatever is sent."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def flush(self) -> None:
        self._process.kill()


def test_threads_wait_for_each_other(renderer: Renderer) -> None:
    got: dict[int, list[str]] = {}

    def ask(n: int) -> None:
        got[n] = [
            renderer.render("{{ messages[0].content }}", [("user", f"{n}")]) for _ in range(9)
        ]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {n: [str(n)] * 9 for n in range(6)}


def test_an_interrupted_rendering_does_not_answer_the_next() -> None:
    with Renderer() as renderer:
        process = process_of(renderer)
        child: Any = renderer._child

        def interrupted(timeout: float) -> bytes:
            raise KeyboardInterrupt

        child._answers = type("Answers", (), {"get": staticmethod(interrupted)})
        with pytest.raises(KeyboardInterrupt):
            renderer.render("late", MESSAGES)
        assert process.poll() is not None
        assert renderer.render("next", MESSAGES) == "next"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups of this kind")
def test_the_child_does_not_hear_ctrl_c() -> None:
    with Renderer() as renderer:
        process = process_of(renderer)
        assert os.getpgid(process.pid) != os.getpgid(0)
        process.send_signal(signal.SIGINT)
        assert process_of(renderer) is process


PARENT = """
import sys, time
from edgeproxy.prompts import renderer as module
module._GRACE_SECONDS = 0.5
renderer = module.Renderer(seconds=1.0)
renderer.render("x", [("user", "x")])
print(renderer._child._process.pid, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="asks for a process by its number")
@pytest.mark.parametrize(
    "then",
    ["time.sleep(99)", f"renderer.render({HANGS!r}, [('user', 'x')])"],
    ids=["idle", "while it renders"],
)
@pytest.mark.slow
def test_the_child_ends_when_its_parent_was_killed(then: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT + then],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.2)
        parent.kill()
    assert ended(pid)


def ended(pid: int) -> bool:
    """Whether a process, of which nobody here is the parent, ends within half a minute."""
    for _ in range(300):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


def test_a_frozen_app_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPROXY_PYTHON", raising=False)
    assert python() == sys.executable
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with Renderer() as renderer:
        with pytest.raises(PromptError, match=r"no Python .* by name, .* or set EDGEPROXY_PYTHON"):
            renderer.render("x", MESSAGES)
        monkeypatch.setenv("EDGEPROXY_PYTHON", sys.executable)
        assert renderer.render("x", MESSAGES) == "x"


@pytest.mark.parametrize("executable", [None, ""])
def test_a_program_that_embeds_python_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    monkeypatch.delenv("EDGEPROXY_PYTHON", raising=False)
    monkeypatch.setattr(sys, "executable", executable)
    with Renderer() as renderer, pytest.raises(PromptError, match="EDGEPROXY_PYTHON"):
        renderer.render("x", MESSAGES)


def test_a_python_that_cannot_render_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEPROXY_PYTHON", str(tmp_path / "nothing"))
    with Renderer() as renderer, pytest.raises(PromptError, match="cannot be started"):
        renderer.render("x", MESSAGES)


def test_several_conversations_are_rendered_in_one_turn(renderer: Renderer) -> None:
    template = "{% if messages|length > 1 %}{{ raise_exception('one') }}{% endif %}" + (
        "{{ messages[0].content }}"
    )
    hello, refused, bye = renderer.render_all(
        template, [[("user", "Hello")], MESSAGES, [("user", "Bye")]]
    )
    assert (hello, bye) == ("Hello", "Bye")
    assert isinstance(refused, PromptError)
    assert "one" in str(refused)
    assert renderer.render_all(template, []) == []
