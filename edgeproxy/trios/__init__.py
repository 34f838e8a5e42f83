"""Trios as files: manifests, the store, pulling, bundles. Loads no model into memory."""
