"""What makes the trio that ships: data, tokenizer, training, tuning, GGUF export and measuring."""
