"""The server: HTTP, what guards it, and where it listens. Needs the extra `[server]`.

limits      what a client may send, and how long it may take
asgi        headers and answers, as ASGI has them
faults      whatever goes wrong becomes an answer, and a line of the log
guards      who may ask: names of this host, origins, the key, kinds of bodies
body        a request's body -> one JSON object
answering   a request is answered, whole or as a stream, until its client leaves
figures     figures as Prometheus reads them
static      the page's files
app         all of it as one application
connection  a connection: time for heads, room for connections, clients that take nothing
listening   ports and sockets
running     an application is served, to its end
"""
