"""Tests on a real model."""
