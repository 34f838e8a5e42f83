"""Small good documents of each kind, for tests to read and to damage."""

from __future__ import annotations

import functools
import io
import random
from pathlib import Path

from edgeproxy.documents.kinds import open_document
from edgeproxy.documents.passage import Block

MARKDOWN = """---
title: Rivers
---
# Chad

Intro text.

Geography
---------

- a
- b

```python
# not a heading

x = 1
```

| Name | Length |
|------|-------:|
| Chari | 1,400 km |

## Empty ##
"""

HTML = """<!doctype html><html><head><title>Chad - Wiki</title><style>x{}</style></head><body>
<nav>menu</nav><h1>Chad</h1><p>Intro <b>bold</b>
text.<script>alert(1)</script><h2>Economy</h2><ul><li>Oil<li>Cotton</ul>
<table><tr><th>Year<th>GDP</tr><tr><td>2023<td>20</table>
<table><tr><th>Capital<td>N'Djamena</table><div hidden>no</div><pre>a
 b</pre><!-- c --><template><p>no</template>tail &eacute;
"""

CSV = 'Country,Capital,2020,2021\nChad,"N\'Djamena",3,4\nMali,"Ba\nmako",4,5\n'

JSON = """{"Geography": {"Area": {"total ": {"text": "5 km"}, "land": {"text": "4 km"}},
"Climate": {"text": "<p>dry &amp; hot</p>"}, "Lakes": [{"name": "Chad", "km": 9},
{"name": "Fitri", "km": 1.50}]}, "Government": {"Country name": {"conventional long form":
{"text": "Republic of Chad"}, "conventional short form": {"text": "Chad"}}}}"""

JSON_LINES = '{"q": "a", "a": "b"}\n\n{"name": "Chad", "tags": ["x", "y"]}\n'

TEXT = "One line.\nAnother.\n\n\nA second paragraph.\n"

PAGES = (
    ("Chad is a land-", "locked country in Africa.", "This is the longest line on the page."),
    ("The currency is the franc.",),
)


def pdf(pages: tuple[tuple[str, ...], ...] = PAGES) -> bytes:
    """A PDF whose pages show those lines, which hold no brackets."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, lines in enumerate(pages):
        shown = " ".join(f"({line}) Tj T*" for line in lines)
        drawn = f"BT /F1 12 Tf 14 TL 72 720 Td {shown} ET"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * i} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream")
    return pdf_of(objects)


def pdf_of(objects: list[str]) -> bytes:
    """A PDF of those objects, of which the first is the catalogue."""
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, text in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{text}\nendobj\n".encode()
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return bytes(out) + f"xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode()


@functools.cache
def word() -> bytes:
    """A Word document with headings and a table."""
    import docx

    document = docx.Document()
    document.add_heading("Chad", 0)
    document.add_heading("Economy", 1)
    document.add_paragraph("The currency is the CFA franc.")
    table = document.add_table(3, 2)
    for i, row in enumerate((("Field", "Value"), ("Capital", "N'Djamena"), ("Area", "1.3 m"))):
        for j, text in enumerate(row):
            table.cell(i, j).text = text
    document.add_heading("Geography", 1)
    document.add_paragraph("Desert.")
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def good(suffix: str) -> bytes:
    """A good document whose name ends with `suffix`."""
    texts = {
        ".txt": TEXT,
        ".md": MARKDOWN,
        ".html": HTML,
        ".csv": CSV,
        ".json": JSON,
        ".jsonl": JSON_LINES,
    }
    if suffix == ".pdf":
        return pdf()
    return word() if suffix == ".docx" else texts[suffix].encode()


SUFFIXES = (".txt", ".md", ".html", ".csv", ".json", ".jsonl", ".pdf", ".docx")


def damaged(data: bytes, seed: str) -> bytes:
    """`data` cut off, with flipped bits, or with stretches lost, doubled or filled with noise."""
    source = random.Random(seed)
    how = source.choice(("cut", "bits", "bits", "lost", "doubled", "noise", "tags"))
    begin = source.randrange(len(data))
    end = min(len(data), begin + source.randrange(1, 200))
    if how == "cut":
        return data[:begin]
    if how == "lost":
        return data[:begin] + data[end:]
    if how == "doubled":
        return data[:end] + data[begin:end] * source.randrange(1, 50) + data[end:]
    if how == "noise":
        return data[:begin] + source.randbytes(end - begin) + data[end:]
    if how == "tags":
        sign = source.choice((b"<", b"[", b"{", b'"', b"(", b"\\", b"0 R", b"99999999999", b"\0"))
        return data[:begin] + sign * source.randrange(1, 30) + data[begin:]
    changed = bytearray(data)
    for _ in range(source.choice((1, 3, 20))):
        changed[source.randrange(len(data))] ^= 1 << source.randrange(8)
    return bytes(changed)


def blocks_of(folder: Path, name: str, data: bytes | str) -> list[Block]:
    """The blocks of a file with that name and content."""
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with open_document(path) as reading:
        return list(reading.blocks)
