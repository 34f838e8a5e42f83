"""Making model files: random ones of real size, grown ones, renumbered ones."""
