"""The URL of a server: what is taken, what is refused, and that no password is repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.errors import UsageError
from edgeproxy.remote.address import is_loopback, parse_address


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://[::1]:8080/v1/", "http://[::1]:8080/v1"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("https://Models.Example:443/v1", "https://models.example/v1"),
        ("https://models.example:8443", "https://models.example:8443"),
        ("HTTPS://models.example", "https://models.example"),
        ("https://[2001:DB8::0:1]", "https://[2001:db8::1]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://model_server/a/b", "https://model_server/a/b"),
    ],
)
def test_a_url_of_a_server_is_read(url: str, shown: str) -> None:
    assert str(parse_address(url)) == shown


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("", "empty"),
        ("127.0.0.1:8080", "http://"),
        ("localhost:8080", "http://"),
        ("ftp://127.0.0.1", "http://"),
        ("file:///etc/passwd", "http://"),
        ("http:127.0.0.1", "http://"),
        ("http://", "http://"),
        ("http:///v1", "http://"),
        ("http://127.0.0.1:0", "port"),
        ("http://127.0.0.1:99999", "no URL"),
        ("http://127.0.0.1:a", "no URL"),
        ("http://[::1", "no URL"),
        ("http://[fe80::1%25eth0]", "name of a server"),
        ("http://127.0.0.1/?a=b", "before ?"),
        ("http://127.0.0.1/#a", "before ?"),
        ("http://127.0.0.1?", "before ?"),
        ("http://127.0.0.1\n.evil.example", "control characters"),
        ("http://127.0.0.1\t", "control characters"),
        ("http://127.0.0.1\\@evil.example", "backslash"),
        ("http://127.0.0.1/a b", "spaces"),
        ("http://127.0.0.1/../../x", "path"),
        ("http://127.0.0.1//x", "path"),
        ("http://127.0.0.1/é", "path"),
        ("https://faß.example", "xn--"),
        ("https://" + "a" * 64 + ".example", "name of a server"),
        ("https://" + "a" * 3000, "too long"),
        ("https://a..example", "name of a server"),
        ("https://-", "name of a server"),
        ("https://a%00b", "name of a server"),
        ("http://models.example", "https"),
        ("http://10.0.0.1:8080", "https"),
        ("http://0.0.0.0:8080", "https"),
        ("http://2130706433", "https"),
        ("http://localhost.example", "https"),
        ("http://[::ffff:10.0.0.1]", "https"),
    ],
)
def test_what_is_none_is_refused_with_a_remedy(url: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=remedy.replace("?", r"\?")):
        parse_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@models.example",
        "https://hunter2@models.example",
        "https://me:hunter2@127.0.0.1:port",
        "https://me:hun@ter2@models.example",
        "https://models.example/?key=hunter2",
        "https://models.example#hunter2",
        "ftp://:hunter2@models.example",
        "me:hunter2@models.example",
    ],
)
def test_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(url)
    assert "hunter2" not in str(caught.value)
    assert "ter2" not in str(caught.value)


def test_plain_http_elsewhere_can_be_allowed() -> None:
    assert str(parse_address("http://10.0.0.1:8080", allow_http=True)) == "http://10.0.0.1:8080"


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("localhost", True),
        ("localhost.", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("notlocalhost", False),
        ("128.0.0.1", False),
        ("::", False),
        ("127.0.0.1.example", False),
    ],
)
def test_what_is_this_machine(host: str, is_here: bool) -> None:
    assert is_loopback(host) == is_here


@given(st.text() | st.text().map("http://".__add__) | st.text().map("https://a".__add__))
def test_any_text_is_an_address_or_one_error(text: str) -> None:
    said = ""
    try:
        address = parse_address(text)
    except UsageError as error:
        said = str(error)
    else:
        assert parse_address(str(address)) == address
        assert str(address).isascii()
    assert said.isprintable()
