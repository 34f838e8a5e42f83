"""Measurements of `edgeproxy serve`, from outside, as its clients see it."""
