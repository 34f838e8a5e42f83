"""Models that a server holds: HTTP to it, its key, and what its answers and refusals mean.

    address     the URL of a server, checked
    key         a server's key, from the environment or a file, which nothing ever shows
    wire        a connection that hears a cancel
    answers     the bytes of an answer, and the JSON in them
    failures    what a server's refusal means, and the remedy
    retry       which failures are tried again, and when
    transport   `Server`: requests, several at once

May touch: the network, and only where a server was named.
"""
