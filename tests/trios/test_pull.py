"""`edgeproxy pull`: the real command line and the real huggingface_hub, from a hub of our own."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.forked import Forks, forks_running
from tests.helpers.gguf_files import draft
from tests.helpers.hub_server import REVISION, Hub, Twist, hub_running
from tests.helpers.pulling import ROLES, Home, check_installed, models, serve, sha256

pytestmark = pytest.mark.slow

DATA = models()
TOTAL = sum(map(len, DATA.values()))
FIRST = "base"
"""The smallest is fetched first."""
NULL = "0" * 40


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with forks_running(tmp_path_factory.mktemp("forks")) as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with hub_running() as running:
        yield running


@pytest.fixture
def hub(server: Hub) -> Hub:
    server.files.clear()
    server.gated.clear()
    server.moved.clear()
    server.calm()
    serve(server, DATA)
    return server


@pytest.fixture
def home(tmp_path: Path, hub: Hub, forks: Forks) -> Home:
    return Home(tmp_path, hub, forks)


def references(*, with_hash: bool = False) -> list[str]:
    found = []
    for role, content in DATA.items():
        fragment = f"#sha256={sha256(content)}" if with_hash else ""
        found += [f"--{role.replace('_', '-')}", f"hf:org/{role}/{role}.gguf@{REVISION}{fragment}"]
    return found


def assert_refused(home: Home, *words: str, code: int = 1, **env: str) -> str:
    """Pulling the usual recipe fails in one line with these words, and installs nothing."""
    done = home.run("pull", home.recipe(DATA), **env)
    assert_failed(home, done.code, done.err, *words, code=code)
    return done.err


def assert_failed(home: Home, got: int, err: str, *words: str, code: int = 1) -> None:
    assert got == code, err
    last = err.splitlines()[-1]
    assert last.startswith("edgeproxy: ")
    assert all(word in last for word in words), last
    assert "bug" not in last
    assert home.store.names() == []


def test_a_recipe_by_path_in_a_process_of_its_own(home: Home) -> None:
    command = [sys.executable, "-m", "edgeproxy", "pull", str(home.recipe(DATA))]
    done = subprocess.run(command, env=home.environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (
        0,
        "little is installed: edgeproxy chat --trio little\n",
    )
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
        *("base.gguf", "anti_expert.gguf", "expert.gguf")
    ]
    check_installed(home.store, "little", DATA)
    assert home.hub.sent == TOTAL
    # Every request was for a file: no telemetry, no list of agents.
    assert {asked.path.rpartition("/")[2] for asked in home.hub.asked} == {
        f"{role}.gguf" for role in ROLES
    }


def test_the_manifest_says_what_was_pulled(home: Home) -> None:
    assert home.run("pull", home.recipe(DATA, changes={"base": {"size": None}})).code == 0
    recipe = home.store.recipe("little")
    base, source = recipe.base, recipe.base.source
    assert (base.size, base.sha256) == (len(DATA["base"]), sha256(DATA["base"]))
    assert (base.architecture, base.vocabulary, base.blocks) == ("llama", 268, 2)
    assert source is not None
    assert (source.repo, source.revision, source.file) == ("org/base", REVISION, "base.gguf")
    assert (recipe.licence, recipe.steering.plausibility, recipe.expert.prompt) == (
        "MIT",
        0.01,
        "chatml",
    )
    assert not base.path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)


def test_json_and_a_second_pull_that_needs_no_network(home: Home) -> None:
    first = home.run("pull", home.recipe(DATA), "--json")
    found = json.loads(first.out)
    assert found["trio"] == "little"
    assert found["models"]["expert"]["from"] == "hub"
    assert found["models"]["expert"]["sha256"] == sha256(DATA["expert"])
    assert found["models"]["expert"]["name"] == "expert.gguf"
    home.hub.calm()
    again = json.loads(home.run("pull", home.recipe(DATA), "--json").out)
    assert {model["from"] for model in again["models"].values()} == {"store"}
    assert home.hub.asked == []


def test_three_references_and_their_prompts(home: Home) -> None:
    assert home.run("pull", "--name", "mine", *references(with_hash=True)).code == 0
    check_installed(home.store, "mine", DATA)
    recipe = home.store.recipe("mine")
    assert [role.prompt for role in recipe.roles.values()] == ["plain", "gguf", "plain"]
    chosen = ["--expert-prompt", "chatml", "--replace"]
    assert home.run("pull", "--name", "mine", *references(with_hash=True), *chosen).code == 0
    assert home.store.recipe("mine").expert.prompt == "chatml"


def test_an_expert_without_a_template_reads_plain_text(home: Home) -> None:
    data = {**DATA, "expert": draft("llama").bytes(7)}
    serve(home.hub, data)
    assert home.run("pull", "--name", "mine", "--trust-first", *references()).code == 0
    assert home.store.recipe("mine").expert.prompt == "plain"


def test_trust_first_takes_the_hubs_word_and_checks_it(home: Home) -> None:
    done = home.run("pull", "--name", "mine", *references())
    assert_failed(home, done.code, done.err, "sha256", "--trust-first", code=2)
    assert home.run("pull", "--name", "mine", "--trust-first", *references()).code == 0
    assert home.store.recipe("mine").base.sha256 == sha256(DATA["base"])


def test_trust_first_needs_a_hub_that_names_the_hash(home: Home) -> None:
    home.hub.add("org/base", "base.gguf", DATA["base"], etag="a" * 40, linked=False)
    done = home.run("pull", "--name", "mine", "--trust-first", *references())
    assert_failed(home, done.code, done.err, "base.gguf", "does not say its sha256")
    # With the hash in hand such a file is as good as another.
    assert home.run("pull", home.recipe(DATA)).code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ("name a recipe", "qwen2.5-7b", "hf:ORG/NAME/FILE@REVISION")),
        (["nonsense"], ("nonsense", "qwen2.5-7b")),
        (["factbook"], ("factbook", "nothing to pull")),
        (["nonsense.toml"], ("nonsense.toml", "no such")),
        (["qwen2.5-7b", "--base", "hf:a/b/c@d"], ("not both",)),
        (["--base", "hf:a/b/c@d"], ("expert and anti-expert",)),
        (["--base", "x", "--expert", "x", "--anti-expert", "x"], ("--name",)),
        (["--name", "m", "--base", "x", "--expert", "x", "--anti-expert", "x"], ("'x'", "hf:")),
        (["--name", "factbook", *references(with_hash=True)], ("factbook", "another --name")),
        (["--name", "m", *references()[:-1], "hf:a/b/c@main"], ("main", "40 hexadecimal")),
        (["--name", "m", "--base-prompt", "no", *references(with_hash=True)], ("'no'", "chatml")),
        (
            ["--name", "m", "--trust-first", *references()[:-1], f"hf:a/../c@{NULL}"],
            ("anti_expert.repo",),
        ),
        (
            ["--name", "m", "--trust-first", *references()[:-1], f"hf:a/b/../c@{NULL}"],
            ("anti_expert.file",),
        ),
    ],
)
def test_wrong_usage(home: Home, arguments: list[str], words: tuple[str, ...]) -> None:
    done = home.run("pull", *arguments)
    assert_failed(home, done.code, done.err, *words, code=2)
    assert done.err.count("\n") == 1
    assert home.hub.asked == []


def test_an_impossible_name_is_told_before_anything_is_fetched(home: Home) -> None:
    done = home.run("pull", home.recipe(DATA), "--name", "a/b")
    assert_failed(home, done.code, done.err, "a/b")
    assert home.hub.asked == []


def test_another_trio_of_that_name_is_replaced_only_when_asked(home: Home) -> None:
    assert home.run("pull", home.recipe(DATA)).code == 0
    other = {**DATA, "expert": draft("llama").bytes(9)}
    serve(home.hub, other)
    home.hub.calm()
    done = home.run("pull", home.recipe(other))
    assert done.code == 1
    assert "--replace" in done.err
    assert home.hub.asked == []
    check_installed(home.store, "little", DATA)
    assert home.run("pull", home.recipe(other), "--replace").code == 0
    check_installed(home.store, "little", other)


# What the hub refuses.


def test_a_gated_repository_without_a_token(home: Home) -> None:
    home.hub.gated["org/base"] = {"hf_good"}
    page = f"{home.hub.endpoint}/org/base"
    assert_refused(home, "org/base", "accept", page, "HF_TOKEN")
    assert home.hub.sent == 0


def test_a_gated_repository_with_a_strangers_token(home: Home) -> None:
    home.hub.gated["org/base"] = {"hf_good"}
    page = f"{home.hub.endpoint}/org/base"
    err = assert_refused(home, "org/base", "no access", page, HF_TOKEN="hf_stranger")
    assert "hf_stranger" not in err


def test_a_token_the_hub_does_not_know(home: Home) -> None:
    err = assert_refused(home, "refuses your token", "HF_TOKEN", HF_TOKEN="hf_old")
    assert "hf_old" not in err


def test_a_token_opens_a_gated_repository_and_stays_with_the_hub(home: Home) -> None:
    home.hub.gated["org/base"] = {"hf_good"}
    assert home.run("pull", home.recipe(DATA), HF_TOKEN="hf_good").code == 0
    assert all(a.headers["authorization"] == "Bearer hf_good" for a in home.hub.gets("hub"))
    at_cdn = [asked for asked in home.hub.asked if asked.place == "cdn"]
    assert len(at_cdn) == 3
    assert not any("authorization" in asked.headers for asked in at_cdn)
    assert not any("hf_good" in str(asked) for asked in at_cdn)


def test_a_token_kept_by_the_hubs_own_tool_is_used(home: Home) -> None:
    home.hub.gated["org/base"] = {"hf_good"}
    (home.folder / "hf").mkdir()
    (home.folder / "hf" / "token").write_text("hf_good\n")
    assert home.run("pull", home.recipe(DATA)).code == 0


def test_an_impossible_token(home: Home) -> None:
    assert_refused(home, "HF_TOKEN", "characters", HF_TOKEN="hf_\u00fc")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"repo": "org/gone"}, ("org/gone", "no such repository", "HF_TOKEN")),
        ({"file": "other.gguf"}, ("org/base", "no file other.gguf", "/tree/")),
        ({"revision": "f" * 40}, ("org/base", "no commit", "f" * 40)),
    ],
)
def test_what_the_hub_does_not_have(
    home: Home, change: dict[str, str], words: tuple[str, ...]
) -> None:
    done = home.run("pull", home.recipe(DATA, changes={"base": change}))
    assert_failed(home, done.code, done.err, *words)
    assert home.hub.sent == 0


def test_a_repository_that_has_moved(home: Home) -> None:
    home.hub.moved["old/base"] = "org/base"
    assert home.run("pull", home.recipe(DATA, changes={"base": {"repo": "old/base"}})).code == 0
    check_installed(home.store, "little", DATA)


def test_no_network_is_told_at_once(home: Home) -> None:
    started = time.perf_counter()
    err = assert_refused(home, "cannot be reached", "bundle", HF_ENDPOINT="http://127.0.0.1:9")
    assert "127.0.0.1:9" in err
    assert time.perf_counter() - started < 5


def test_a_password_in_the_endpoint_is_not_told(home: Home) -> None:
    closed = "http://user:pa55@127.0.0.1:9"
    err = assert_refused(home, "***@127.0.0.1:9", "cannot be reached", HF_ENDPOINT=closed)
    assert "pa55" not in err
    home.hub.gated["org/base"] = {"hf_good"}
    open_one = home.hub.endpoint.replace("://", "://user:pa55@")
    err = assert_refused(home, "org/base", HF_ENDPOINT=open_one)
    assert "pa55" not in err


def test_an_endpoint_that_is_none(home: Home) -> None:
    assert_refused(home, "HF_ENDPOINT", HF_ENDPOINT="nonsense")
    home.hub.twist("hub", "HEAD", Twist(headers={"X-Repo-Commit": NULL}))
    assert_refused(home, "HF_ENDPOINT")


def test_an_impossible_setting_of_huggingface_hub(home: Home) -> None:
    assert_refused(home, "environment", "often", code=2, HF_HUB_DOWNLOAD_TIMEOUT="often")


# What is here already.


def test_offline_says_so_at_once(home: Home) -> None:
    assert_refused(home, "HF_HUB_OFFLINE", "bundle", HF_HUB_OFFLINE="1")
    assert home.hub.asked == []


def test_files_in_the_hubs_cache_are_used_offline_too(home: Home) -> None:
    blobs = [home.put_in_cache(role, content) for role, content in DATA.items()]
    done = home.run("pull", home.recipe(DATA), "--json", HF_HUB_OFFLINE="1")
    assert {m["from"] for m in json.loads(done.out)["models"].values()} == {"cache"}
    assert home.hub.asked == []
    check_installed(home.store, "little", DATA)
    # The cache is the hub's: it keeps its files, and they are not ours.
    assert all(blob.stat().st_nlink == 1 and blob.stat().st_mode & 0o200 for blob in blobs)


def test_a_file_in_the_hubs_cache_offline_without_a_hash(home: Home) -> None:
    for role, content in DATA.items():
        home.put_in_cache(role, content)
    arguments = ("--name", "mine", "--trust-first", *references())
    assert home.run("pull", *arguments, HF_HUB_OFFLINE="1").code == 0
    check_installed(home.store, "mine", DATA)


def test_a_damaged_file_in_the_hubs_cache_is_not_used(home: Home) -> None:
    damaged = bytes(len(DATA["base"]))
    blob = home.put_in_cache("base", damaged)
    done = home.run("pull", home.recipe(DATA))
    assert done.code == 0
    assert "cache is damaged" in done.err
    check_installed(home.store, "little", DATA)
    assert blob.read_bytes() == damaged


def test_a_wrong_size_in_a_recipe_says_nothing_against_a_file_that_is_there(home: Home) -> None:
    """The store's, and the hub's cache's: their hashes decide."""
    wrong = {role: {"size": 7} for role in DATA}
    for role, content in DATA.items():
        home.put_in_cache(role, content)
    done = home.run("pull", home.recipe(DATA, changes=wrong), "--json", HF_HUB_OFFLINE="1")
    assert {m["from"] for m in json.loads(done.out)["models"].values()} == {"cache"}
    second = home.recipe(DATA, "second", wrong)
    done = home.run("pull", second, "--json", HF_HUB_OFFLINE="1")
    assert {m["from"] for m in json.loads(done.out)["models"].values()} == {"store"}
    for name in ("little", "second"):
        check_installed(home.store, name, DATA)
        assert home.store.recipe(name).base.size == len(DATA["base"])


def test_what_another_trio_has_is_not_fetched_again(home: Home) -> None:
    assert home.run("pull", home.recipe(DATA)).code == 0
    other = {**DATA, "expert": draft("llama").bytes(9)}
    serve(home.hub, other)
    home.hub.calm()
    assert home.run("pull", home.recipe(other, "second")).code == 0
    assert home.hub.sent == len(other["expert"])
    check_installed(home.store, "little", DATA)
    check_installed(home.store, "second", other)


# Trouble on the way.


def test_a_connection_that_drops_goes_on_where_it_was(home: Home) -> None:
    home.hub.twist("cdn", "GET", Twist(cut=50_000))
    assert home.run("pull", home.recipe(DATA)).code == 0
    check_installed(home.store, "little", DATA)
    assert home.hub.sent == TOTAL
    second = home.hub.gets()[1]
    assert second.headers["range"] == "bytes=50000-"
    assert second.headers["if-range"].startswith('"')


def test_a_busy_hub_is_asked_again(home: Home) -> None:
    home.hub.twist("hub", "HEAD", Twist(status=503, headers={"Retry-After": "0"}))
    home.hub.twist("hub", "GET", Twist(status=429, headers={"Retry-After": "1"}))
    home.hub.twist("cdn", "GET", Twist(status=500, headers={"Retry-After": "0"}))
    started = time.perf_counter()
    assert home.run("pull", home.recipe(DATA)).code == 0
    assert time.perf_counter() - started >= 1
    check_installed(home.store, "little", DATA)


def test_an_old_signature_at_the_cdn_is_renewed(home: Home) -> None:
    home.hub.twist("cdn", "GET", Twist(status=403, headers={"Retry-After": "0"}))
    assert home.run("pull", home.recipe(DATA)).code == 0


def test_a_hub_that_asks_for_an_hour_is_left_alone(home: Home) -> None:
    home.hub.twist("hub", "HEAD", Twist(status=429, headers={"Retry-After": "3600"}))
    assert_refused(home, "429", "60 minutes", "later")


def test_a_server_that_ignores_ranges_begins_anew(home: Home) -> None:
    home.hub.twist("cdn", "GET", Twist(cut=50_000), Twist(ignores_range=True))
    assert home.run("pull", home.recipe(DATA)).code == 0
    check_installed(home.store, "little", DATA)
    assert home.hub.sent == TOTAL + 50_000


def test_a_file_that_changes_between_attempts_is_noticed_by_its_etag(home: Home) -> None:
    older = Twist(cut=50_000, etag="older", data=b"x" * len(DATA[FIRST]))
    home.hub.twist("cdn", "GET", older)
    assert home.run("pull", home.recipe(DATA)).code == 0
    check_installed(home.store, "little", DATA)
    assert home.hub.sent == TOTAL + 50_000


def test_a_file_that_changes_between_attempts_is_noticed_by_the_hubs_word(home: Home) -> None:
    home.hub.twist("cdn", "GET", Twist(cut=50_000))
    home.hub.twist("hub", "HEAD", Twist(), Twist(), Twist(), Twist(etag="b" * 64))
    assert_refused(home, "base.gguf", "b" * 64, "another one")
    assert home.hub.sent == 50_000


def test_a_file_that_changes_between_two_pulls_is_noticed(home: Home) -> None:
    """The part that came first is of another file: then the whole has the wrong hash."""
    home.hub.twist("cdn", "GET", Twist(cut=50_000, data=b"x" * len(DATA[FIRST])))
    home.hub.twist("hub", "GET", Twist(), Twist(status=451))
    assert_refused(home, "base.gguf", "451")
    assert home.store.received(sha256(DATA[FIRST])) == 50_000
    home.hub.calm()
    assert_refused(home, "base.gguf", "org/base", "another file", "put aside")
    assert home.run("pull", home.recipe(DATA)).code == 0
    check_installed(home.store, "little", DATA)


# A hub that has, or sends, something else.


def test_wrong_bytes_are_put_aside_and_named(home: Home) -> None:
    wrong = bytearray(DATA["base"])
    wrong[-1] ^= 1
    home.hub.twist("cdn", "GET", Twist(data=bytes(wrong)))
    err = assert_refused(home, "base.gguf", "org/base", "another file", "put aside")
    aside = Path(err.rpartition("put aside as ")[2].split(", so")[0])
    assert aside.read_bytes() == wrong
    assert not home.store.has(sha256(DATA["base"]))
    assert home.run("pull", home.recipe(DATA)).code == 0
    check_installed(home.store, "little", DATA)


def test_another_size_than_the_recipes_is_refused_before_it_is_fetched(home: Home) -> None:
    home.hub.twist("hub", "HEAD", Twist(data=DATA["base"] + b"more"))
    assert_refused(home, "base.gguf", f"{len(DATA['base']) + 4:,} bytes", "another one")
    assert home.hub.sent == 0


def test_another_hash_than_the_recipes_is_refused_before_it_is_fetched(home: Home) -> None:
    home.hub.twist("hub", "HEAD", Twist(etag="c" * 64))
    assert_refused(home, "base.gguf", "c" * 64, "another one")
    assert home.hub.sent == 0


@pytest.mark.parametrize("length", [10, 10**9])
def test_a_server_that_lies_about_the_size(home: Home, length: int) -> None:
    home.hub.twist("cdn", "GET", *[Twist(length=length)] * 9)
    assert_refused(home, "base.gguf", str(length), "instead of")


def test_a_server_that_truncates(home: Home) -> None:
    short = DATA["base"][:50_000]
    home.hub.twist("cdn", "GET", *[Twist(data=short)] * 9)
    assert_refused(home, "base.gguf", "50000 bytes", "instead of")


def test_a_server_that_sends_another_part(home: Home) -> None:
    part = Twist(headers={"Content-Range": f"bytes 7-9/{len(DATA['base'])}"})
    home.hub.twist("cdn", "GET", Twist(cut=50_000), part)
    assert_refused(home, "base.gguf", "another part")


def test_a_server_that_compresses(home: Home) -> None:
    home.hub.twist("cdn", "GET", Twist(headers={"Content-Encoding": "gzip"}))
    assert_refused(home, "base.gguf", "compressed")


def test_a_file_with_the_wrong_contents(home: Home) -> None:
    """The right hash of the wrong model: hubs hold such files."""
    for data, words in (
        (b"This is no model at all." * 9, ("base.gguf", "damaged", "GGUF")),
        (draft("qwen2").bytes(), ("base.gguf", "architecture is qwen2", "should be llama")),
    ):
        other = {**DATA, "base": data}
        serve(home.hub, other)
        done = home.run("pull", home.recipe(other))
        assert_failed(home, done.code, done.err, *words)


@pytest.mark.parametrize(("key", "value"), [("vocabulary", 32000), ("blocks", 40)])
def test_a_model_of_another_shape_than_the_recipes(home: Home, key: str, value: int) -> None:
    done = home.run("pull", home.recipe(DATA, changes={"expert": {key: value}}))
    assert_failed(home, done.code, done.err, "expert.gguf", key, str(value))


def strangers() -> dict[str, bytes]:
    """A trio whose pair has no token of the base's."""
    pair = draft("llama")
    pair.metadata["tokenizer.ggml.tokens"] = [f"word{n}" for n in range(268)]
    pair.metadata["tokenizer.ggml.merges"] = ["word 1"]
    pair.metadata["tokenizer.ggml.token_type"] = [1] * 268
    return {**DATA, "expert": pair.bytes(1), "anti_expert": pair.bytes(2)}


def test_a_pair_that_cannot_steer_the_base_is_refused(home: Home) -> None:
    data = strangers()
    serve(home.hub, data)
    done = home.run("pull", home.recipe(data, changes={"expert": {"prompt": "plain"}}))
    assert_failed(home, done.code, done.err, "little", "no token of text in common", code=2)


def test_a_prompt_format_that_the_expert_cannot_read(home: Home) -> None:
    done = home.run("pull", home.recipe(DATA, changes={"expert": {"prompt": "llama3"}}))
    assert_failed(home, done.code, done.err, "expert.gguf", "llama3", code=2)


# Ctrl-C, and afterwards.


def test_ctrl_c_keeps_what_has_come(home: Home) -> None:
    home.hub.rate = 1e6
    running = home.start("pull", home.recipe(DATA))
    try:
        while home.hub.sent < 100_000:
            time.sleep(0.01)
        running.kill(signal.SIGINT)
        done = running.wait()
    finally:
        home.hub.rate = 0
    assert done.code == 130
    assert done.err.splitlines()[-2:] == [
        "what has come is kept; the same command goes on from there",
        "edgeproxy: interrupted",
    ]
    kept = home.store.received(sha256(DATA["base"]))
    assert kept > 0
    home.hub.calm()
    assert home.run("pull", home.recipe(DATA)).code == 0
    assert home.hub.gets()[0].headers["range"] == f"bytes={kept}-"
    check_installed(home.store, "little", DATA)


def test_an_installed_trio_needs_no_network(home: Home) -> None:
    assert home.run("pull", home.recipe(DATA)).code == 0
    home.hub.calm()
    done = home.run("show", "little", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.code == 0
    assert "expert.gguf" in done.out or sha256(DATA["expert"]) in done.out
    assert home.hub.asked == []


def test_a_template_that_fails_is_found_out_before_anything_is_installed(home: Home) -> None:
    one = draft("llama")
    one.metadata["tokenizer.chat_template"] = "{{ raise_exception('not with me') }}"
    data = {**DATA, "expert": one.bytes(7)}
    serve(home.hub, data)
    done = home.run("pull", "--name", "mine", "--trust-first", *references())
    assert_failed(
        home, done.code, done.err, "not with me", "by name: --expert-prompt chatml", code=2
    )
    assert "mine" not in home.store.names()
    chosen = ["--expert-prompt", "chatml"]
    assert home.run("pull", "--name", "mine", "--trust-first", *references(), *chosen).code == 0
