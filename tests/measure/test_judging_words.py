"""Judging replies: what counts as right."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.measure.judging import first_line, is_right, words


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("The capital is Ulaanbaatar.", "ulaanbaatar"),
        ("\n \nIt is Port-au-Prince, of course.", "Port au Prince"),
        ("It is N’Djamena.", "N'Djamena"),
        ("Yaounde is the capital.", "Yaoundé"),
        ("It is Tromsø.", "Tromso"),
        ("STRASSE", "straße"),
        ("About 1,234,567 people.", "1234567"),
        ("About 1234567 people.", "1,234,567"),
        ("About 1.234.567 people.", "1,234,567"),
        ("In 1960, it became independent.", "1960"),
        ("It has 3.5 million people.", "3.5 million"),
        ("Its domain is .mn.", ".mn"),
        ("Sao Tome & Principe", "São Tomé, Príncipe"),
        ("首都是北京。", "北京"),
        ("モンゴルの首都はウランバートルです。", "ウランバートル"),
        ("首都はﾊﾟﾘです", "パリ"),
        ("通貨は円です", "円"),
        ("대한민국의 수도는 서울입니다.", "서울"),
        ("ประเทศไทยมีกรุงเทพมหานครเป็นเมืองหลวง", "กรุงเทพมหานคร"),
        ("राजधानी दिल्ली है", "दिल्ली"),
        ("Она была ещё в Кёльне", "еще в Кельне"),
        ("Η Αθήνα", "ΑΘΗΝΑ"),
        ("בִּירָה", "בירה"),
        ("مِصْر", "مصر"),
        ("Ulaan\u00adbaatar", "Ulaanbaatar"),
        ("It is -3 degrees.", "-3"),
        ("It is \u22123 degrees.", "-3"),
        ("x=-3", "\u22123"),
        ("a loss (-$3 million)", "-3 million"),
        ("気温は-3度", "-3"),
        ("From -1,234.5 up", "-1234.5"),
        ("10-3", "3"),
        ("from 2010-2012", "2012"),
        ("from 2010\u20132012", "2010-2012"),
        ("Covid-19 it was", "19"),
        ("- 3 of them", "3"),
        ("It is .5 km.", "0.5"),
    ],
)
def test_right(reply: str, answer: str) -> None:
    assert is_right(reply, [answer])


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("", "Lima"),
        ("I do not know.\nLima", "Lima"),
        ("It is Limassol.", "Lima"),
        ("It has 3.5 million people.", "5 million"),
        ("In 1960,5 things", "19605"),
        ("It has 1234 people.", "234"),
        ("Guinea", "Guinea-Bissau"),
        ("Au prince, port", "Port-au-Prince"),
        ("首都はバリです", "パリ"),
        ("首都はハリです", "パリ"),
        ("パリジャンです", "パリ"),
        ("インドネシアです", "インド"),
        ("부산입니다", "산"),
        ("ม้า", "มา"),
        ("राजधाना", "राजधानी"),
        ("мой", "мои"),
        ("It is -3 degrees.", "3"),
        ("It is \u22123 degrees.", "3"),
        ("It is 3 degrees.", "-3"),
        ("It is -3.5 degrees.", "-3"),
        ("It is 10-3.", "-3"),
        ("It is F-16.", "-16"),
        ("It is .5 km.", "5"),
    ],
)
def test_wrong(reply: str, answer: str) -> None:
    assert not is_right(reply, [answer])


def test_any_accepted_answer_counts() -> None:
    assert is_right("It borders Chile.", ["Peru", "Chile"])


@given(st.text())
def test_words_are_stable(text: str) -> None:
    once = words(text)
    assert words(" ".join(once)) == once


UNSPACED = st.text(st.sampled_from("首都北京東の是はをทลาวກຂខគကခ"), max_size=8)
"""Text of scripts that put nothing between words."""

NAMES = st.text(st.sampled_from("abcdefxyzéüßñо"), min_size=1, max_size=8)


@given(UNSPACED, st.text(st.sampled_from("北京東カパไทยລາວ"), min_size=1, max_size=5), UNSPACED)
def test_an_answer_counts_where_nothing_stands_between_words(
    before: str, answer: str, after: str
) -> None:
    assert is_right(before + answer + after, [answer])


@given(UNSPACED, st.sampled_from("カキクケコサシスセソタチツテトハヒフヘホ"), UNSPACED)
def test_a_voicing_mark_makes_another_letter(before: str, letter: str, after: str) -> None:
    voiced = unicodedata.normalize("NFC", letter + "\u3099")
    assert voiced != letter
    assert is_right(before + voiced + after, [letter + "\u3099"])
    assert not is_right(before + voiced + after, [letter])
    assert not is_right(before + letter + after, [voiced])


@given(NAMES, st.sampled_from("\u0300\u0301\u0302\u0308\u0327"))
def test_accents_of_latin_letters_do_not_count(name: str, accent: str) -> None:
    accented = "".join(letter + accent for letter in name if letter.isascii())
    assert words(accented) == words("".join(filter(str.isascii, name)))


@given(st.integers(1, 10**12), st.sampled_from("-\u2212\uff0d"), NAMES)
def test_a_sign_counts_before_a_number_and_a_hyphen_does_not(n: int, dash: str, name: str) -> None:
    for written in (str(n), f"{n:,}"):
        assert is_right(f"It is {dash}{written} here", [f"-{n}"])
        assert not is_right(f"It is {dash}{written} here", [str(n)])
        assert not is_right(f"It is {written} here", [f"-{n}"])
        for joined in (f"{n}{dash}{written}", f"{name}{dash}{written}"):
            assert is_right(joined, [str(n)])
            assert not is_right(joined, [f"-{n}"])


@given(st.lists(NAMES, min_size=2, max_size=4))
def test_a_hyphen_stands_between_two_words(names: list[str]) -> None:
    assert words("-".join(names)) == words(" ".join(names))


@given(st.text())
def test_first_line_is_one_line(text: str) -> None:
    line = first_line(text)
    assert "\n" not in line
    assert line == line.strip()
