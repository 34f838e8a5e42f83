"""Conversations of the page, kept by the server in the history that `edgeproxy chat` keeps.

bodies    a request to save messages, read; what is answered
sessions  the history, asked in threads
"""
