"""What makes and measures edgeproxy; not part of the package."""
