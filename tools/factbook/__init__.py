"""What makes the trios that ship: data, tokenizer, training, tuning, GGUF export and measuring."""
