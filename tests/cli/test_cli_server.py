"""A base on a server, at the command line: what is asked, what is told, what is wrong in a line."""

from __future__ import annotations

import io
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproxy.cli import main
from edgeproxy.cli.ui.options import Models
from edgeproxy.cli.ui.serving import (
    coverage_in_words,
    sent_in_words,
    server_in_words,
    spent_in_words,
)
from edgeproxy.decode.biased import Sent
from edgeproxy.decode.partial import Coverage
from edgeproxy.remote import retry
from edgeproxy.remote.spent import Spent
from tests.helpers.command_line import Run
from tests.helpers.fake_server import fake_server
from tests.helpers.served_trios import Files, Served, elsewhere, served_file, write_trio

SECRET = "a-secret-of-the-server"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_trio(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def served(files: Files) -> Iterator[Served]:
    with served_file(files["base"], key=SECRET) as found:
        yield found


@pytest.fixture
def run(
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """`edgeproxy run` with these files: exit code, standard output, standard error."""
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.002)
    monkeypatch.setenv("EDGEPROXY_TEST_KEY", SECRET)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        named = [f"--{role.replace('_', '-')}={path}" for role, path in files.items()]
        code = main(["run", *named, "--threads", "1", "--max-tokens", "6", *arguments, "Where?"])
        return code, *capsys.readouterr()

    return run


def key() -> list[str]:
    return ["--base-key-env", "EDGEPROXY_TEST_KEY"]


# What it says


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ((), ["top|rows, 200 of 268 log-probabilities of each row", "the expert's best token was"]),
        (("--base-logprobs", "10000"), ["rows, all log-probabilities of each"]),
        (("--base-way", "bias"), ["bias, the server adds it and draws", "tokens biased a step"]),
        (("--base-logprobs", "20"), ["rows, 20 of 268 log-probabilities of each row"]),
    ],
)
def test_a_reply_and_what_it_cost(
    run: Run, served: Served, way: tuple[str, ...], words: list[str]
) -> None:
    code, out, err = run("--base-url", served.url, *key(), *way, "--stats")
    assert code == 0
    assert f"base: llama-server b1-fake at {served.url}, " in err
    assert re.search(r"\d requests \(\d\.\d\d a token\), \d+ tokens in", err)
    for each in words:
        assert re.search(each, err), err
    assert SECRET not in out + err


def test_the_text_is_that_of_the_base_here(run: Run, served: Served) -> None:
    here = run()
    asked = "--base-url", served.url, *key(), "--base-logprobs", "10000"
    assert run(*asked)[:2] == here[:2]
    assert here[0] == 0


def test_one_model_alone(run: Run, served: Served) -> None:
    code, _, err = run("--base-url", served.url, *key(), "--alpha", "0", "--stats")
    assert code == 0
    assert "the base alone (alpha 0)" in err
    assert "6 requests (1.00 a token)" in err
    before = len(served.server.requests)
    code, _, err = run("--base-url", served.url, *key(), "--base-weight", "0", "--stats")
    assert code == 0
    assert "requests" not in err
    assert len(served.server.requests) == before


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_key_from_a_file(run: Run, served: Served, tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    path.write_text(f"{SECRET}\n")
    path.chmod(mode)
    for alone in ([], ["--alpha", "0"]):
        code, out, err = run("--base-url", served.url, "--base-key-file", str(path), *alone)
        assert code == 0
        assert SECRET not in out + err
        if os.name != "nt":  # which has no such bits
            assert ("others on this machine may read this key" in err) == (mode == 0o644)


# What is wrong


def one_line(done: tuple[int, str, str], match: str) -> None:
    """One clear line on standard error, nothing else, and an exit code that says so."""
    code, out, err = done
    assert code not in (0, None)
    assert out == ""
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    assert SECRET not in err
    assert re.search(match, err), err


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--base-url", "127.0.0.1:8080"], "begins with http:// or https://"),
        (["--base-url", "ftp://127.0.0.1"], "begins with http:// or https://"),
        (["--base-url", ""], "URL is empty"),
        (["--base-url", f"https://me:{SECRET}@example.com"], "no name or password belongs"),
        (["--base-url", "http://192.0.2.1"], r"over plain http.* allow http .*\(--allow-http\)"),
        (["--base-url", "http://127.0.0.1:0"], "no port 0"),
        (["--base-url", "http://127.0.0.1:9", "--base-key-env", "EDGEPROXY_NONE"], "is not set"),
        (["--base-url", "http://127.0.0.1:9", "--base-key-env", "A B"], "name an environment"),
        (["--base-url", "http://127.0.0.1:9", "--base-key-file", "none.key"], "cannot be read"),
        (
            ["--base-url", "http://127.0.0.1:9", *key(), "--base-key-file", "none.key"],
            "either a variable or a file",
        ),
        (
            ["--base-way", "bias"],
            r"a server \(way\) were given, .* the server too \(--base-url\)",
        ),
        (["--allow-http"], "the base is a file"),
    ],
)
def test_what_is_wrong_by_itself(run: Run, arguments: list[str], match: str) -> None:
    one_line(run(*arguments), match)


@pytest.mark.parametrize("arguments", [["--base-way", "all"], ["--base-logprobs", "0"]])
def test_what_the_flags_do_not_take(run: Run, arguments: list[str]) -> None:
    code, out, err = run("--base-url", "http://127.0.0.1:9", *arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert arguments[0] in err


def test_no_server_at_all(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    one_line(run("--base-url", f"http://127.0.0.1:{port}"), f"http://127.0.0.1:{port}: ")


def test_no_server_of_models(run: Run) -> None:
    with fake_server(lambda _: {"hello": "world"}) as server:
        one_line(run("--base-url", server.url), f"{server.url}: it answered without")


def test_a_wrong_key_and_none(
    run: Run, served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one_line(run("--base-url", served.url), "it wants a key")
    path = tmp_path / "key"
    path.write_text("another-secret")
    done = run("--base-url", served.url, "--base-key-file", str(path))
    one_line(done, "it refuses the key")
    assert "another-secret" not in done[2]


def test_penalties_are_not_for_a_base_that_draws(run: Run, served: Served) -> None:
    asked = "--base-url", served.url, *key(), "--base-way", "bias", "--repeat-penalty", "1.2"
    one_line(run(*asked), "knows no penalties against repetition")


# In words


def test_settings_of_a_server_are_none_unless_they_are_given() -> None:
    assert set(Models().server.values()) == {None}
    assert Models(base_url="u", allow_http=True).server["allow_http"] is True


@pytest.mark.parametrize(
    ("spent", "tokens", "words"),
    [
        (
            Spent(requests=6, tokens_in=212, tokens_out=9, bytes_sent=1000, seconds=1.5),
            12,
            "6 requests (0.50 a token), 212 tokens in, 9 out, 1.0 kB sent, 0 bytes received, "
            "waited 1.50 s",
        ),
        (
            Spent(requests=1, retries=2, tokens_in=1_000_000, tokens_cached=5, price_in=2.5),
            0,
            "1 request, 1,000,000 tokens in, 5 of them cached, 0 out, 0 bytes sent, 0 bytes "
            "received, waited 0.00 s, 2 sent again, cost 2.5000",
        ),
    ],
)
def test_what_was_spent(spent: Spent, tokens: int, words: str) -> None:
    assert spent_in_words(spent, tokens) == words


def test_coverage_and_what_was_sent() -> None:
    assert coverage_in_words(Coverage()) is None
    assert coverage_in_words(Coverage(8, 1)) == (
        "the expert's best token was among the base's in 87.5% of rows"
    )
    assert str(coverage_in_words(Coverage(8, 1, 1))).endswith(" of rows, more was asked for once")
    assert str(coverage_in_words(Coverage(8, 1, 2, 3))).endswith(
        " of rows, more was asked for 2 times, 3 tokens were asked for"
    )
    assert str(coverage_in_words(Coverage(8, 1, 0, 1))).endswith(" of rows, 1 token was asked for")
    assert str(coverage_in_words(Coverage(8, 1, 0, 2))).endswith(
        " of rows, 2 tokens were asked for"
    )
    assert sent_in_words(Sent()) is None
    assert sent_in_words(Sent(2, 3000, 0)) == "1,500 tokens biased a step"
    assert sent_in_words(Sent(2, 600, 3, 80)) == (
        "300 tokens biased a step, 40 left out as more than are sent, 3 in all cut to the largest "
        "bias that the server takes"
    )


def test_a_server_in_words(files: Files) -> None:
    with served_file(files["base"]) as plain, elsewhere(files, plain) as session:
        assert session.speaker.remote is not None
        assert server_in_words(session.speaker.remote) == (
            f"base: llama-server b1-fake at {plain.url}, rows, all log-probabilities of each"
        )
