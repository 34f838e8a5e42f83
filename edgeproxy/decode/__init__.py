"""From rows of logits to text: fusion, the trio, sampling, the loop, pieces. Touches no file."""
