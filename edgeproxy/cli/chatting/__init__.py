"""What `edgeproxy chat` is made of: its commands, its line editor, how replies are shown."""
