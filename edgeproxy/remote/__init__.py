"""A base on a server: its predictions as a `Model`, its protocols, and HTTP to it.

    endpoint    where a server is, and what is asked of it, as a person says it
    connect     what a server is and can do, found out, and the way in which it takes part
    predicts    what is asked of any server: rows, or one token drawn with a bias
    model       these predictions as a `Model`
    llama_server, openai, speaking
                the two protocols, and what they share
    rows        rows out of answers, which are not taken on trust
    spent       what asking has cost

    address     the URL of a server, checked
    key         a server's key, from the environment or a file, which nothing ever shows
    wire        a connection that hears a cancel
    answers     the bytes of an answer, and the JSON in them
    failures    what a server's refusal means, and the remedy
    retry       which failures are tried again, and when
    transport   `Server`: requests, several at once
    traffic     what went to a server and came back, counted

May touch: the network, and only where a server was named.
"""
