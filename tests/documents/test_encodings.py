"""Encodings are found out, and said."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path

import pytest

from edgeproxy.documents.encodings import CHUNK
from edgeproxy.documents.kinds import open_document
from edgeproxy.errors import UnreadableError

TEXTS = {
    "German": "Die Währung des Landes heißt Franc, und über dem Fluss liegt die größte Stadt. ",
    "French": "La monnaie du pays est le franc ; où est né le président élu, à Évian ? Ça va. ",
    "Russian": "Столица страны находится на берегу реки, а валюта называется франк. Это всё. ",
    "Greek": "Η πρωτεύουσα της χώρας βρίσκεται δίπλα στον ποταμό και το νόμισμα είναι το φράγκο. ",
    "Polish": "Stolica kraju leży nad rzeką, a walutą jest frank; żółć, gęś, źdźbło i łąka. ",
    "Japanese": "この国の首都は川のほとりにあり、通貨はフランです。人口は約二千万人です。",
    "Chinese": "这个国家的首都位于河边,货币是法郎。人口约为两千万,官方语言是法语和阿拉伯语。",
    "Korean": "이 나라의 수도는 강가에 있으며 통화는 프랑입니다. 인구는 약 이천만 명입니다. ",
    "Hebrew": "בירת המדינה שוכנת על גדת הנהר, והמטבע הוא פרנק. האוכלוסייה מונה עשרים מיליון. ",
    "Arabic": "تقع عاصمة البلاد على ضفة النهر، والعملة هي الفرنك. يبلغ عدد السكان عشرين مليونا. ",
    "English": "The capital lies on a river. ",
}


def read(folder: Path, data: bytes, name: str = "a.txt") -> tuple[str, str]:
    path = folder / name
    path.write_bytes(data)
    with open_document(path) as reading:
        return reading.encoding, "".join(block.text for block in reading.blocks)


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize(
    "codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_unicode(tmp_path: Path, language: str, codec: str) -> None:
    text = TEXTS[language] * 10 + "\n2024: 15 %"
    encoding, found = read(tmp_path, text.encode(codec))
    assert (encoding, found) == (codec.removesuffix("-sig"), text)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16_with_the_other_mark(tmp_path: Path, codec: str) -> None:
    mark = codecs.BOM_UTF16_LE if codec.endswith("le") else codecs.BOM_UTF16_BE
    assert read(tmp_path, mark + "Ça".encode(codec)) == ("utf-16", "Ça")


@pytest.mark.parametrize(
    ("language", "codec"),
    [
        ("German", "windows-1252"),
        ("French", "windows-1252"),
        ("Russian", "windows-1251"),
        ("Russian", "koi8-r"),
        ("Greek", "windows-1253"),
        ("Polish", "windows-1250"),
        ("Japanese", "shift_jis"),
        ("Japanese", "euc_jp"),
        ("Chinese", "gb18030"),
        ("Korean", "euc_kr"),
        ("Hebrew", "windows-1255"),
        ("Arabic", "windows-1256"),
    ],
)
def test_older_encodings(tmp_path: Path, language: str, codec: str) -> None:
    text = TEXTS[language] * 4
    _, found = read(tmp_path, text.encode(codec))
    assert found == text


def test_without_the_extra_it_is_windows_1252(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)
    text = TEXTS["French"] + "€"
    assert read(tmp_path, text.encode("windows-1252")) == ("windows-1252", text)


def test_one_wrong_byte_does_not_turn_utf8_into_something_else(tmp_path: Path) -> None:
    text = TEXTS["Russian"] * 10
    assert read(tmp_path, text.encode() + b"\xff") == ("utf-8", text + "\ufffd")


def test_a_byte_far_behind_decides_too(tmp_path: Path) -> None:
    data = b"plain words\n\n" * (3 * CHUNK // 13) + "Währung, größte, über".encode("windows-1252")
    encoding, found = read(tmp_path, data)
    assert encoding in ("windows-1252", "windows-1250")  # the same letters
    assert found.endswith("Währung, größte, über")


@pytest.mark.parametrize(
    ("claimed", "encoding"),
    [("koi8-r", "koi8-r"), ("ISO-8859-1", "windows-1252"), ("gb2312", "gb18030")],
)
def test_html_is_believed(tmp_path: Path, claimed: str, encoding: str) -> None:
    data = f'<meta charset="{claimed}"><p>'.encode() + b"\xc1\xc2\xc3\xc4 \xc4\xc5"
    found, text = read(tmp_path, data, "a.html")
    assert (found, text) == (encoding, b"\xc1\xc2\xc3\xc4 \xc4\xc5".decode(encoding))


@pytest.mark.parametrize(
    "claimed", ["zlib", "rot13", "idna", "unicode_escape", "utf-7", "nonsense"]
)
def test_html_that_claims_a_codec_of_another_sort_is_not(tmp_path: Path, claimed: str) -> None:
    data = f'<meta charset="{claimed}"><p>'.encode() + "Währung für größte Städte".encode("cp1252")
    assert read(tmp_path, data, "a.html")[1] == "Währung für größte Städte"


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=r"a\.txt: .*no text"):
        read(tmp_path, bytes(range(256)) * 10)
