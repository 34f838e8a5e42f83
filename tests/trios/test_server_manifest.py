"""A base on a server: its settings, in a manifest and out of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.errors import ManifestError, UsageError
from edgeproxy.remote.endpoint import Endpoint, Protocol
from edgeproxy.remote.predicts import Way
from edgeproxy.trios.find import on_server
from edgeproxy.trios.manifest import Recipe, Role, read_recipe, to_toml

URL = "http://127.0.0.1:8080"
BASE = f'url = "{URL}"\ntokenizer = "base.gguf"\n'
REST = '[expert]\nfile = "x.gguf"\n\n[anti_expert]\nfile = "y.gguf"\n'


def read(tmp_path: Path, base: str) -> Recipe:
    path = tmp_path / "trio.toml"
    path.write_text(f'name = "served"\n\n[base]\n{base}\n{REST}', "utf-8")
    return read_recipe(path)


def test_a_manifest_names_a_server_and_a_tokenizer(tmp_path: Path) -> None:
    base = read(
        tmp_path,
        BASE
        + 'model = "m"\nprotocol = "openai"\nway = "bias"\nlogprobs = 20\ncontext = 4096\n'
        + 'key_env = "EDGEPROXY_KEY"\nprice_in = 0.5\nprice_out = 2\nprompt = "plain"\n',
    ).base
    assert base.endpoint == Endpoint(
        URL,
        model="m",
        protocol="openai",
        way="bias",
        logprobs=20,
        context=4096,
        key_env="EDGEPROXY_KEY",
        price_in=0.5,
        price_out=2.0,
    )
    assert base.path == (tmp_path / "base.gguf").resolve()
    assert (base.vocab_only, base.prompt) == (True, "plain")


def test_without_settings_all_is_found_out(tmp_path: Path) -> None:
    recipe = read(tmp_path, BASE)
    assert recipe.base.endpoint == Endpoint(URL)
    assert [role.vocab_only for role in recipe.roles.values()] == [True, False, False]


@pytest.mark.parametrize(
    ("base", "match"),
    [
        (BASE + 'file = "a.gguf"\n', "file is of no use beside url"),
        (
            f'url = "{URL}"\n',
            "base.tokenizer is missing: name a GGUF file here with the vocabulary",
        ),
        ('tokenizer = "a.gguf"\n', "base.file is missing"),
        ('file = "a.gguf"\ntokenizer = "a.gguf"\n', "unknown key base.tokenizer"),
        ('file = "a.gguf"\nkey_env = "EDGEPROXY_KEY"\n', "unknown key base.key_env"),
        (f'url = "{URL}"\ntokenizer = "../a.gguf"\n', "must stay in the manifest's folder"),
        (f'url = "{URL}"\ntokenizer = "/a.gguf"\n', "must stay in the manifest's folder"),
        (f'url = "{URL}"\ntokenizer = 5\n', "base.tokenizer must be a string"),
        ('url = 5\ntokenizer = "a.gguf"\n', "base.url must be a string"),
        ('url = ""\ntokenizer = "a.gguf"\n', "URL is empty"),
        ('url = "ftp://a"\ntokenizer = "a.gguf"\n', "begins with http:// or https://"),
        ('url = "http://me:pass@127.0.0.1"\ntokenizer = "a.gguf"\n', "no name or password"),
        (BASE + 'key_env = "OPENAI_API_KEY"\n', "begins with EDGEPROXY_, so that no manifest"),
        (BASE + 'key_env = "EDGEPROXY_"\n', "begins with EDGEPROXY_, so that no manifest"),
        (BASE + 'key_env = "edgeproxy_key"\n', "begins with EDGEPROXY_, so that no manifest"),
        (BASE + 'key_env = "EDGEPROXY_a b"\n', "begins with EDGEPROXY_, so that no manifest"),
        (BASE + 'key_env = "EDGEPROXY_é"\n', "begins with EDGEPROXY_, so that no manifest"),
        (BASE + "key_env = 5\n", "base.key_env must be a string"),
        (BASE + 'key_file = "/etc/passwd"\n', "unknown key base.key_file"),
        (BASE + 'key = "secret"\n', "unknown key base.key"),
        (BASE + "allow_http = true\n", "unknown key base.allow_http"),
        (BASE + 'protocol = "grpc"\n', "protocol must be one of llama-server, openai"),
        (BASE + 'way = "all"\n', "way must be one of rows, bias, top-k"),
        (BASE + "logprobs = 0\n", "logprobs must be 1 or more"),
        (BASE + "logprobs = 10000001\n", "logprobs must be between 1 and"),
        (BASE + "logprobs = true\n", "logprobs must be a whole number"),
        (BASE + "context = 1\n", "context must be between 2 and"),
        (BASE + "price_in = -1\n", "price_in must be between"),
        (BASE + "price_in = nan\n", "price_in must be between"),
        (BASE + "price_out = inf\n", "price_out must be between"),
        (BASE + 'price_out = "2"\n', "price_out must be a number"),
        (BASE + "more = 1\n", "unknown key base.more"),
    ],
)
def test_a_wrong_server_is_named(tmp_path: Path, base: str, match: str) -> None:
    with pytest.raises(ManifestError, match=match) as failed:
        read(tmp_path, base)
    assert str(failed.value).startswith(str(tmp_path / "trio.toml"))
    assert "pass@" not in str(failed.value)


@pytest.mark.parametrize("role", ["expert", "anti_expert"])
def test_only_a_base_can_be_on_a_server(tmp_path: Path, role: str) -> None:
    path = tmp_path / "trio.toml"
    rest = REST.replace(f"[{role}]\n", f'[{role}]\nurl = "{URL}"\n')
    path.write_text(f'name = "served"\n\n[base]\nfile = "b.gguf"\n\n{rest}', "utf-8")
    with pytest.raises(ManifestError, match=f"unknown key {role}.url"):
        read_recipe(path)


ENDPOINTS = st.builds(
    Endpoint,
    url=st.sampled_from([URL, "https://models.example/v1", "http://10.0.0.1:5", "https://[::1]"]),
    model=st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    protocol=st.sampled_from([None, *get_args(Protocol)]),
    way=st.sampled_from([None, *get_args(Way)]),
    logprobs=st.none() | st.integers(1, 10**7),
    context=st.none() | st.integers(2, 10**8),
    key_env=st.none() | st.from_regex(r"EDGEPROXY_[A-Za-z0-9_]{1,64}", fullmatch=True),
    price_in=st.floats(0, 1e6),
    price_out=st.floats(0, 1e6),
)


@given(ENDPOINTS)
def test_what_is_written_is_read_back(endpoint: Endpoint) -> None:
    from edgeproxy.trios.manifest.read import parse_recipe

    base = Role(Path("base.gguf"), endpoint=endpoint, size=5, sha256="0" * 64)
    recipe = Recipe("served", base, Role(Path("x.gguf")), Role(Path("y.gguf")))
    written = to_toml(recipe)
    again = parse_recipe(written.encode(), Path("trio.toml"), lambda t: Path(t.string("file")))
    assert again.base == base
    assert again.base.endpoint == endpoint
    assert to_toml(again) == written


@pytest.mark.parametrize(
    "given_key", [{"key_env": "MINE"}, {"key_env": "EDGEPROXY_"}, {"key_file": Path("secret.key")}]
)
def test_what_a_person_named_here_is_not_written(given_key: Any, tmp_path: Path) -> None:
    endpoint = Endpoint("http://10.0.0.1", allow_http=True, **given_key)
    recipe = read(tmp_path, BASE)
    written = to_toml(recipe.with_roles({"base": replace(recipe.base, endpoint=endpoint)}))
    for word in ("key_env", "key_file", "allow_http", "MINE", "secret.key"):
        assert word not in written
    (tmp_path / "again.toml").write_text(written)
    assert read_recipe(tmp_path / "again.toml").base.endpoint == Endpoint("http://10.0.0.1")


# Settings of a person


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"url": "x"}, "begins with http"),
        ({"url": "https://a:b@c"}, "no name or password"),
        ({"url": 5}, "URL is empty"),
        ({"model": 5}, "model must be the name"),
        ({"protocol": "x"}, "protocol must be one of"),
        ({"way": []}, "way must be one of"),
        ({"logprobs": 0}, "logprobs must be"),
        ({"logprobs": 1.0}, "logprobs must be a whole number"),
        ({"logprobs": True}, "logprobs must be a whole number"),
        ({"context": 1}, "context must be"),
        ({"key_env": ""}, "must name an environment variable"),
        ({"key_env": "A=B"}, "must name an environment variable"),
        ({"key_env": 5}, "must name an environment variable"),
        ({"key_env": "A", "key_file": Path("b")}, "either a variable or a file"),
        ({"key_file": "b"}, "key_file must be a Path"),
        ({"price_in": float("nan")}, "price_in must be"),
        ({"price_out": -1.0}, "price_out must be"),
    ],
)
def test_impossible_settings_are_refused(settings: Any, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        Endpoint(**{"url": URL, **settings})


FILE = Role(Path("base.gguf"))


def test_a_file_without_settings_stays_a_file() -> None:
    nothing: Any = {"url": None, "key_env": None}
    assert on_server(FILE, {}) is FILE
    assert on_server(FILE, nothing) is FILE


def test_settings_name_a_server_or_change_one() -> None:
    served = on_server(FILE, {"url": URL, "way": "bias", "logprobs": None})
    assert served == replace(FILE, endpoint=Endpoint(URL, way="bias"))
    changed = on_server(served, {"url": "https://b.example", "context": 5})
    assert changed.endpoint == Endpoint("https://b.example", way="bias", context=5)


@pytest.mark.parametrize("settings", [{"way": "rows"}, {"key_env": "A"}, {"allow_http": True}])
def test_settings_of_no_server_are_refused(settings: Any) -> None:
    with pytest.raises(UsageError, match="the base is a file; name the server too"):
        on_server(FILE, settings)


@pytest.mark.parametrize("settings", ["http://127.0.0.1", 5, [("url", URL)]])
def test_settings_that_are_none(settings: Any) -> None:
    with pytest.raises(UsageError, match="server must be settings"):
        on_server(FILE, settings)


def test_an_unknown_setting_is_named() -> None:
    unknown: Any = {"url": URL, "key": "secret"}
    with pytest.raises(UsageError, match="no setting 'key'; it has url, model"):
        on_server(FILE, unknown)


def test_a_key_that_is_named_now_stands_in_the_place_of_the_manifests() -> None:
    served = on_server(FILE, {"url": URL, "key_env": "EDGEPROXY_KEY"})
    by_file = on_server(served, {"key_file": Path("key")}).endpoint
    assert by_file == Endpoint(URL, key_file=Path("key"))
    assert on_server(replace(FILE, endpoint=by_file), {"key_env": "B"}).endpoint == Endpoint(
        URL, key_env="B"
    )
    both: Any = {"key_env": "A", "key_file": Path("b")}
    with pytest.raises(UsageError, match="either"):
        on_server(FILE, both | {"url": URL})
