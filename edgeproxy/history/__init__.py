"""Conversations that are kept: SQLite in this user's data folder, found again, searched, exported.

`History` is the file and what is in it, `Keeper` what a chat calls.
"""
