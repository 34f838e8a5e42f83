"""Measuring speed, memory and exactness, alone and beside what others would write."""
