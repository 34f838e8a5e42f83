"""One reader a kind of document: `read(source)` gives its blocks."""
