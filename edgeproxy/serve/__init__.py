"""A trio for other programs: OpenAI's protocol over HTTP, JSON lines over standard input, a page.

A request becomes a `Wanted` (`wanted`), the engine answers it with events (`events`), and a writer
of the protocol that the client speaks makes them what is sent.
"""
