"""Writes what vLLM serves out of a GGUF model; runs in vLLM's environment, and imports its own.

    ENVIRONMENT/bin/python -I from_gguf.py MODEL.gguf FOLDER

May touch: the folder that it is given.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(source: Path, folder: Path) -> None:
    """Write weights in float32, the settings and the tokenizer."""
    where, name = str(source.parent), source.name
    read = AutoModelForCausalLM.from_pretrained(where, gguf_file=name, dtype=torch.float32)
    # A model out of a GGUF file counts as quantised, and transformers writes none of these.
    settings = read.config
    if hasattr(settings, "quantization_config"):
        del settings.quantization_config
    plain = AutoModelForCausalLM.from_config(settings, dtype=torch.float32)
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(where, gguf_file=name).save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
