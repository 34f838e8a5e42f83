"""A base that answers over a network: a server's predictions as a `Model`."""
