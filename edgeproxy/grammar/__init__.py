"""What a reply must be by a JSON schema or a grammar; llguidance tells which tokens keep to it."""
