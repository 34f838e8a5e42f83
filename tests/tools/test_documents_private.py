"""What a server is told of documents that the expert alone reads, as the tool counts it."""

from __future__ import annotations

import json
import re
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from edgeproxy.documents.indexing import index_documents
from edgeproxy.trios.manifest import Recipe, Role, to_toml
from tests.helpers.fake_server import Request, fake_server
from tests.helpers.fakes import fake_vocab
from tests.helpers.served_trios import Files, served_file, write_trio
from tools.documents import __main__ as command
from tools.documents import private
from tools.documents.private import RUN, texts_of
from tools.servers.recording import recorded

PASSAGE = "The vault's number is 4711-0815, and nobody but Ada knows it.\n"
ASKED = "What number has the vault?"
REPLIES = 12


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_trio(tmp_path_factory.mktemp("served"))


def measured(
    files: Files, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, Any], str]:
    """What the command finds, as data and in words, the second time without asking anybody.

    The server in this process speaks llama-server's own protocol alone.
    """
    monkeypatch.delitem(private.WAYS, "bias by OpenAI's limits")
    trio = files["base"].parent / "trio.toml"
    base, expert, anti_expert = (Role(path, prompt="plain") for path in files.values())
    trio.write_text(to_toml(Recipe("tiny", base, expert, anti_expert)))
    (folder / "notes").mkdir()
    (folder / "notes" / "vault.txt").write_text(PASSAGE)
    index_documents(folder / "index.sqlite", [folder / "notes"])
    asked = folder / "questions.jsonl"
    asked.write_text(json.dumps({"question": ASKED, "answer": "4711", "max_tokens": REPLIES}))
    with served_file(files["base"]) as served:
        argv = ["", "private", str(trio), str(asked), served.url]
        argv += ["--docs", str(folder / "index.sqlite"), "--out", str(folder / "out")]
        monkeypatch.setattr(sys, "argv", [*argv, "--ctx", "256", "--json"])
        assert command.main() == 0, capsys.readouterr().err
        found = json.loads(capsys.readouterr().out)
        n_asked = served.asked
        monkeypatch.setattr(sys, "argv", [*argv, "--ctx", "256"])
        assert command.main() == 0
        assert served.asked == n_asked
    return found, capsys.readouterr().out


def test_nothing_is_told_of_what_the_expert_alone_reads(
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found, text = measured(files, tmp_path, monkeypatch, capsys)
    systems = found["systems"]
    assert list(systems) == ["here", "rows", "bias"]
    assert "requests" not in systems["here"]
    for way in private.WAYS:
        assert systems[way]["requests"] > 1, way
        assert systems[way]["told"] == [], way
    assert systems["rows"]["same"] == systems["bias"]["same"] == 1
    assert systems["bias"]["steps"] > 1
    assert systems["bias"]["reply_tokens"] == systems["rows"]["reply_tokens"] > 1
    assert systems["rows"]["bytes_received"] > systems["bias"]["bytes_received"] > 0
    assert systems["rows"]["bytes_sent"] > 0
    assert "told: " not in text
    assert "| rows | 0%" in text
    assert re.search(r"\| [\d.]+, [\d.]+ \| 0 \|$", text, re.MULTILINE)
    assert "tokens biased a step" in text


def test_what_the_base_reads_is_found_in_its_requests(
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(private, "SYSTEM", "proxy/docs=base")
    found, text = measured(files, tmp_path, monkeypatch, capsys)
    for way in private.WAYS:
        told = found["systems"][way]["told"]
        assert all(len(run.encode()) == RUN for run in told), way
        assert "4711-0815, and n" in told, way
    assert "told: '4711-0815, and n'" in text


def test_the_texts_of_a_request() -> None:
    vocab = fake_vocab()
    body = json.dumps({"prompt": [[104, 105], [1, 2]], "stop": ["é"], "logit_bias": [[104, 1.5]]})
    found = list(texts_of(body.encode(), vocab))
    assert found[0] == body.encode()
    assert {b"hi", "é".encode()} <= set(found[1:])
    assert list(texts_of(b"", vocab)) == [b""]
    assert list(texts_of(b"no JSON", vocab)) == [b"no JSON"]


def test_a_record_has_each_body_and_the_answers_are_the_servers() -> None:
    def answer(request: Request) -> Any:
        return {"path": request.path, "got": request.body.decode()}

    with fake_server(answer) as server, recorded(server.url) as record:
        line = HTTPConnection("127.0.0.1", urlsplit(record.url).port, timeout=20)
        for body in ("one", "two"):
            line.request("POST", "/completion", body)
            assert json.loads(line.getresponse().read()) == {"path": "/completion", "got": body}
        line.close()
        assert record.take() == [b"one", b"two"]
        assert record.take() == []


def test_a_server_that_is_gone_is_a_bad_gateway() -> None:
    with fake_server(lambda _: {}) as server:
        url = server.url
    with recorded(url) as record:
        line = HTTPConnection("127.0.0.1", urlsplit(record.url).port, timeout=20)
        line.request("GET", "/health")
        assert line.getresponse().status == 502
        line.close()
