"""OpenAI's protocol as functions: JSON data in, JSON data out; nothing here knows HTTP.

kinds        numbers, texts and words in a request: how one is read, and its JSON Schema
shapes       objects and lists of them
fields       the tables of fields: whatever a request may have, or is refused
asking       the fields that all requests share -> a `Wanted`
chat         /v1/chat/completions and /v1/edgeproxy/explain, read and written
completions  /v1/completions
responses    /v1/responses, read; `response_writer` writes it
chunks       what the writers of chat and completions have in common
tokens       log-probabilities of tokens
figures      usage, and what edgeproxy tells besides
counting     the tokens of a prompt
tokenizing   texts and tokens' ids
cancelling   a reply is ended
models       who can answer
errors       an error -> status, body, headers
routes       path -> reader
document     the server's OpenAPI document, of the tables in `fields`
stamps       ids and times
"""
