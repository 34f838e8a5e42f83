"""What each model said for every token of a reply: as data, and as a page.

    form        the one JSON form, versioned: dataclasses, and `as_json`; schema.json describes it
    explaining  a reply that was recorded -> the form
    own_words   how a pair with a tokenizer of its own spells a reply
    verdict     what the figures of a whole reply mean, in words
    words       tokens, percentages and sentences as a person reads them
    page_file   the form -> one HTML file, of the readable files in page/

A terminal's view of the form is `cli.ui.explained`.
"""

from edgeproxy.explain.explaining import RECORD, explain
from edgeproxy.explain.form import FORM, LEVELS, VERSION, Explained, Explanation, as_json, level_of
from edgeproxy.explain.page_file import page_of

__all__ = [
    "FORM",
    "LEVELS",
    "RECORD",
    "VERSION",
    "Explained",
    "Explanation",
    "as_json",
    "explain",
    "level_of",
    "page_of",
]
