"""A strict, bounded, read-only reader and validator of GGUF model files.

llama.cpp trusts a header: damaged ones abort the process or answer wrongly. So nothing reaches it
that this package has not read in full, checked against what the architecture needs, and found
consistent. A model's tensor data is never read; a flipped weight is for a hash to find.

    header      what a file declares, as frozen data
    parse       bytes -> header: counts, lengths, types, offsets
    keys        what kind of file it is, and keys that damage has renamed
    vocab       the tokenizer's keys
    model       hyper-parameters and tensors, by the tables in `architectures`
    file        one open descriptor, so that the file that was checked is the file that is loaded
    vocabulary  a file without its weights
    adapter     LoRA adapters, checked against the model that they are for

The format is described in https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from edgeproxy.gguf.adapter import (
    Adapter,
    check_scale,
    open_adapter,
    read_adapter,
    read_adapter_inside,
)
from edgeproxy.gguf.architectures import can_rewind
from edgeproxy.gguf.file import ModelFile, fingerprint, open_model, read, read_any, read_inside
from edgeproxy.gguf.header import TENSOR_TYPES, Header, Tensor, TensorType
from edgeproxy.gguf.vocabulary import vocabulary_only

__all__ = [
    "TENSOR_TYPES",
    "Adapter",
    "Header",
    "ModelFile",
    "Tensor",
    "TensorType",
    "can_rewind",
    "check_scale",
    "fingerprint",
    "open_adapter",
    "open_model",
    "read",
    "read_adapter",
    "read_adapter_inside",
    "read_any",
    "read_inside",
    "vocabulary_only",
]
