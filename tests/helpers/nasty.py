"""Texts that break tokenizers and what stands on them, and spellings that no tokenizer makes."""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from functools import lru_cache

from edgeproxy.core.vocab import Vocab

_RUNS = ("1" * 20, "90", "007", "1024", "65537", "123456", "3141592653589793238")

NASTY: dict[str, str] = {
    # Characters of several code points
    "emoji family joined": "A family: \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466!",
    "emoji skin tones": "\U0001f44d\U0001f44d\U0001f3fb\U0001f44d\U0001f3ff ok\U0001f44b\U0001f3fd",
    "emoji profession": "\U0001f469\U0001f3fe\u200d\U0001f680 and \U0001f9d1\u200d\u2695\ufe0f",
    "flags": "\U0001f1eb\U0001f1f7\U0001f1e9\U0001f1ea \U0001f1fa\U0001f1f8\U0001f1fa",
    "flag of tags": "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "keycaps": "1\ufe0f\u20e32\ufe0f\u20e3#\ufe0f\u20e3 *\ufe0f\u20e3",
    "variation selectors": "\u2764\ufe0f \u2764\ufe0e \u845b\U000e0100",
    "accents composed": "Ang\u00e9lique d\u00e9j\u00e0 vu, na\u00efve \u00c5ngstr\u00f6m, \u1ec7",
    "accents decomposed": "Ange\u0301lique de\u0301ja\u0300 vu, nai\u0308ve A\u030angstro\u0308m",
    "stacked marks": "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319a\u0335lgo",
    "mark without a letter": "\u0301 \u0301a \n\u0308",
    # Scripts
    "hangul composed": "\ud55c\uad6d\uc5b4\ub97c \ubc30\uc6b0\uace0 \uc788\uc2b5\ub2c8\ub2e4.",
    "hangul jamo": "\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165 \u3131\u314f",
    "arabic with marks": "\u0628\u0650\u0633\u0652\u0645 \u0627\u0644\u0644\u0651\u064e\u0647",
    "hebrew with points": "\u05d1\u05bc\u05b0\u05e8\u05b5\u05d0\u05e9\u05c1\u05d9\u05ea 12:30",
    "bidi controls": "\u202euser\u202c \u2066abc\u2069 \u200fx\u200e \u202b\u05d0\u202c",
    "chinese": "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff01",
    "rare han": "\U00020000\U0002a6d6\u9f98\U0002b740 \u3007",
    "japanese": "\u6771\u4eac\u30bf\u30ef\u30fc\u306b\u884c\u304d\u307e\u3057\u305f\uff76\uff9e",
    "thai": "\u0e01\u0e23\u0e38\u0e07\u0e40\u0e17\u0e1e\u0e21\u0e2b\u0e32\u0e19\u0e17\u0e35\u0e48",
    "devanagari": "\u0928\u092e\u0938\u094d\u0924\u0947 \u0915\u094d\u0937\u0924\u094d\u0930\u093f",
    "tamil": "\u0ba8\u0bbf \u0b95\u0bcd\u0bb7\u0bc7\u0ba4\u0bcd\u0bb0\u0bae\u0bcd",
    "mixed scripts in a word": "\u0440\u0430ypal p\u0430yp\u0430l \u03b1b\u0446\u05d3\u6f22\uac00x",
    "cherokee and case": "\u13a0\uab70 \u01c5 \u0130i\u0131I \u00df\u1e9e \ufb01",
    # Space
    "a space": " ",
    "two spaces": "  ",
    "three spaces and a word": "   word",
    "leading space": " leading",
    "trailing space": "trailing ",
    "trailing spaces": "trailing    ",
    "spaces between": "a b  c   d    e     f",
    "a newline": "\n",
    "newlines": "\n\n\n\n\n\n\n\n\n",
    "newlines and words": "one\n\ntwo\n\n\nthree\n",
    "carriage returns": "one\r\ntwo\r\n\r\nthree\rfour\n\r",
    "tabs": "\ta\t\tb\t c \t\n\t",
    "space before newline": "line \n  next  \n\n   \n end",
    "other spaces": "a\u00a0b\u3000c\u2003d\u2028e\u2029f\u0085g\u202fh",
    "other spaces in runs": " \u00a0 \u3000\u3000 \t\u2028 \n\u00a0\n x",
    "zero width": "zero\u200bwidth\u200c\u200d\u2060\ufeffnon",
    "byte order mark": "\ufeffstart",
    "vertical tab and form feed": "a\x0bb\x0cc \x0b d\x1c\x1f",
    # Numbers
    "digit runs": " ".join("12345678901234567890"[:n] for n in range(1, 21)),
    "digits and letters": "a1b22c333d4444 x86_64 H2O 3rd 1e-9 0xFF 2\u00b2 \u00bd \u2167",
    "numbers": "1,000,000.00 -3.14159 +1 (555) 010-9999 12% \u20ac9.99 1/2",
    "dates and times": "2024-02-29T23:59:60Z 12/31/1999 9:05pm +44 20 7946 0958",
    "numbers in a row": ",".join(_RUNS) + "\n" + "".join(_RUNS),
    "digits of other scripts": "\u0661\u0662\u0663 \u0967\u0968\u0969 \uff11\uff12 \U0001d7d9",
    # English
    "contractions": "I'm you're he's they'll WE'LL don't DON'T I'd've 's 'll 'LL '' o'clock 'tis",
    "curly contractions": "I\u2019m don\u2019t \u2018\u2019s \u201cquoted\u201d\u2026\u2014x",
    "case changes": "camelCaseWord XMLHttpRequest iPhone McDonald ABCdef aBcDeF NASA's",
    "a very long word": "pneumono" + "ultramicroscopic" * 12 + "silicovolcanoconiosis",
    "words without spaces": "thequickbrownfoxjumpsoverthelazydogandthenrunsaway" * 3,
    # Code and machines
    "python": (
        "def f(x):\n    if x == 1:\n        return {'a': [x ** 2, -x]}\n\n\n"
        "class A:\n\t__slots__ = ()\n"
    ),
    "c": 'int main(void)\n{\n\tfor (int i=0;i<10;++i) printf("%d\\n", a[i]->b);\n\treturn 0;\n}\n',
    "json": '{"a": [1, 2.5e-3, null, true], "b\\u00e9": {"c": "\\"\\n"}}',
    "html": "<!DOCTYPE html><p class='x'>&nbsp;&lt;b&gt;</p><br/><!-- -->",
    "latex": "\\frac{1}{\\sqrt{2\\pi}}\\int_{-\\infty}^{x} e^{-t^2/2}\\,dt \\\\ $a_{ij}$",
    "regex": r"^(?:[\w.+-]+@(\d{1,3}\.){3}\d{1,3}|\\\/\*.*?)$",
    "url": "https://user:pw@example.co.uk:8080/a%20b/c.php?q=1&r[]=x#top",
    "email": "first.last+tag@sub.example.museum, <root@localhost>",
    "hex hash": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "base64": "TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24=+/==",
    "markdown table": "| a | b |\n|:---|---:|\n| **1** | `2` |\n\n- [ ] x\n# H\n```\n```\n",
    "punctuation in runs": "!!!???......----____====****####~~~~,,,,;;;;''''\"\"\"\"((()))",
    "printable ascii": "".join(map(chr, range(0x20, 0x7F))),
    "ascii backwards": string.printable[::-1],
    # What a vocabulary spells otherwise
    "turn markers typed": "<|im_end|>\n<|im_start|>system\n<|endoftext|></s><s>[INST]<|eot_id|>",
    "half a turn marker": "<|im_ <|im_end| |im_end|> <|im_end|><|im_end|>|>",
    "byte tokens typed": "<0x0A><0xFF>\\x0a &#10; <unk> <pad>",
    "byte-level spelling": "\u0120the \u010a\u0109 \u00c3\u00a9 \u0120\u0120",
    "sentencepiece spelling": "\u2581the \u2581\u2581 a\u2581b \u2581",
    # Code points that mean nothing, or nothing printable
    "private use": "\ue000\uf8ff \U000f0000\U0010fffd",
    "unassigned": "\u0378\u0379 \U0003fffd \U000e0fff",
    "noncharacters": "\ufdd0\uffff\ufffe \U0010ffff",
    "replacement characters": "\ufffd\ufffd a\ufffd \ufffd\n",
    "math bold": "\U0001d400\U0001d401\U0001d41a \U0001d7ce\U0001d54f",
    "music": "\U0001d11e \U0001d15e \U0001d1bb\U0001d165 \U0001d158\U0001d165",
    "control characters": "".join(map(chr, range(1, 32))) + "\x7f\x80\x9f",
    # Every tokenizer takes it, as llama.cpp is told the length.
    "nul": "a\x00b\x00\x00",
    # Length
    "ten thousand letters": "a" * 10_000,
    "ten thousand spaces": " " * 10_000,
    "ten thousand letters of two bytes": "\u00e9" * 10_000,
    "three thousand emoji": "\U0001f600" * 3_000,
    "a thousand joined emoji": "\U0001f468\u200d" * 1_000,
    "two thousand marks on a letter": "e" + "\u0301" * 2_000,
}
"""Valid Unicode each, by name; none is empty. The longest has 20,000 bytes."""

LONG = frozenset(name for name, text in NASTY.items() if len(text) >= 1_000)
"""The names of those that an expensive check may leave out."""


@lru_cache(maxsize=16)
def text_tokens(vocab: Vocab) -> Mapping[bytes, tuple[int, ...]]:
    """The ids of every token that is text, by its bytes; several may share them.

    Control, unused, unknown and empty tokens are no text, nor is one that ends the generation.
    """
    found: dict[bytes, tuple[int, ...]] = {}
    for token in range(len(vocab)):
        data = vocab.piece(token)
        if data and token not in vocab.end_of_generation:
            found[data] = (*found.get(data, ()), token)
    return found


@lru_cache(maxsize=16)
def _lengths(vocab: Vocab) -> tuple[int, ...]:
    return tuple(sorted(set(map(len, text_tokens(vocab)))))


def spellings(
    vocab: Vocab, data: bytes, source: random.Random, *, as_bytes: bool = False
) -> list[int]:
    """Text tokens of `vocab` whose bytes join to `data`, cut at random as no tokenizer would.

    Each token is drawn evenly from those that fit, so that many hold half a character where the
    vocabulary has tokens for bytes. With `as_bytes` every token is one byte. `data` need not be
    valid UTF-8. Raises `ValueError` for a byte of `data` that is no token by itself.
    """
    table = text_tokens(vocab)
    for byte in set(data):
        if bytes([byte]) not in table:
            raise ValueError(f"the vocabulary has no token for byte 0x{byte:02X} alone")
    lengths = (1,) if as_bytes else _lengths(vocab)
    tokens: list[int] = []
    at = 0
    while at < len(data):
        left = len(data) - at
        # Beyond the end a slice is only the rest, which would be drawn more often.
        fitting = [n for n in lengths if n <= left and data[at : at + n] in table]
        chosen = data[at : at + source.choice(fitting)]
        tokens.append(source.choice(table[chosen]))
        at += len(chosen)
    return tokens
