"""What verbs share: streams, Ctrl-C, options, progress. No verb is in here."""
