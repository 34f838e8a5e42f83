"""The page at `/`: a conversation, and each reply token by token.

    page.html, style.css   the page, in plain HTML and CSS
    main.js                the conversation: what is asked, who answers, what the keys do
    replies.js             messages on the page
    markdown.js            a safe subset of Markdown
    store.js               the conversations as a tree, in the browser's store
    sessions.js            the conversations that the server keeps
    api.js                 the server's interface: requests with the key, streams of events
    save.js                a conversation as a file
    files                  all of them, for a server to send
    about                  what an empty page says of a trio

The view of a reply is explain's (`explain/page/`), the same files that `explain --html` writes.
"""
