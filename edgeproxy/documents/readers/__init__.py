"""Files of one kind each -> blocks of text, with what leads to them and where they are."""
