"""Templates from model files: what they see, and that a hostile one only harms its own process."""

from __future__ import annotations

import jinja2
import pytest

from edgeproxy.errors import PromptError
from edgeproxy.prompts.jinja import _render_here, render

MESSAGES = (("user", "Hello"), ("assistant", "Hi!"), ("user", "Bye"))


def test_a_template_sees_roles_contents_and_that_the_assistant_is_next() -> None:
    template = (
        "{% for m in messages %}{{ m['role'] }}={{ m.content }};{% endfor %}"
        "{{ add_generation_prompt }}"
    )
    assert render(template, MESSAGES) == "user=Hello;assistant=Hi!;user=Bye;True"


def test_blocks_are_trimmed_as_chat_templates_expect() -> None:
    template = (
        "{% for m in messages %}\n    {% if true %}\n{{ m.role }}\n    {% endif %}\n{% endfor %}"
    )
    assert render(template, MESSAGES) == "user\nassistant\nuser\n"


def test_loops_may_be_left() -> None:
    template = "{% for m in messages %}{{ m.role }}{% break %}{% endfor %}"
    assert render(template, MESSAGES) == "user"


def test_the_beginning_of_text_is_left_to_the_tokenizer() -> None:
    assert render("{{ bos_token }}{{ eos_token }}x", MESSAGES) == "x"


def test_any_text_comes_back_as_it_went_in() -> None:
    content = "é€𝄞 \x00 \u2028 {{ 1 }} <|im_end|> \\n"
    assert render("{{ messages[0].content }}", [("user", content)]) == content


def test_a_template_that_refuses_says_why() -> None:
    with pytest.raises(PromptError, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}", MESSAGES)


def test_what_a_template_says_cannot_steer_the_terminal() -> None:
    with pytest.raises(PromptError) as error:
        render("{{ raise_exception('red \\x1b[31m \\x07 ' + 'x' * 100000) }}", MESSAGES)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "template",
    ["{% if %}", "{{ nothing.at.all }}", "{% include 'x' %}", "{{ lipsum() }}", "{{ '\\ud800' }}"],
)
def test_a_broken_template_is_a_prompt_error(template: str) -> None:
    with pytest.raises(PromptError, match="template failed"):
        render(template, MESSAGES)


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
    ],
)
def test_a_template_cannot_leave_its_sandbox(template: str) -> None:
    # In this process, because only the sandbox is under test, and a child takes its time.
    try:
        shown = _render_here(template, [{"role": "user", "content": "Hello"}])
    except (jinja2.TemplateError, TypeError):
        return
    assert shown == "", "what is unsafe is undefined, which shows as nothing"


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{% for a in range(99999) %}"
        "{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{{ 9 ** (9 ** 9) }}",
    ],
    ids=["loops", "loops that write", "powers"],
)
def test_a_template_that_does_not_end_is_ended(template: str) -> None:
    with pytest.raises(PromptError, match=r"did not finish in 1 seconds|template failed"):
        render(template, MESSAGES, seconds=1.0)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ 'x' * (2 * 10 ** 9) }}", "MemoryError"),
        ("{{ 'x'.center(2 * 10 ** 9) }}", "MemoryError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ 'x' * 5000000 }}", "output is too long"),
    ],
)
def test_a_template_that_wants_all_memory_gets_an_error(template: str, why: str) -> None:
    with pytest.raises(PromptError, match=f"template failed .*{why}"):
        render(template, MESSAGES)


def test_a_template_that_is_too_long_is_refused() -> None:
    with pytest.raises(PromptError, match="too long"):
        render("x" * 200_000, MESSAGES)
