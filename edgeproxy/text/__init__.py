"""Text of any language: the words of it, and the numbers in it, as they are compared."""
