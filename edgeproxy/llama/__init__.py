"""llama.cpp behind the `Model` interface; nothing else in edgeproxy imports `llama_cpp`.

Reads downwards: `library` (the import, logs), `fork` (no child uses its parent's models), `loaded`
(llama.cpp's model, freed with the last reference), `stream` (an open file), `tokenizer`, `weights`
(a file in memory), `adapter` (a small change of them), `batch` and `branches` (what is evaluated at
once), `owner` (one thread at a time), `kv` (the memory of a text), `footprint` (what else a model
takes), `state` (a KV cache as bytes), `abort` (when to stop), `params` and `context` (one `Model`),
`embedding` (texts to vectors), `chain` (samplers on a row of ours).
"""

from edgeproxy.llama.adapter import Adapter
from edgeproxy.llama.chain import SamplerChain
from edgeproxy.llama.context import LlamaModel
from edgeproxy.llama.embedding import Embedder
from edgeproxy.llama.footprint import compute_bytes, padded, vocabulary_bytes, weights_bytes
from edgeproxy.llama.kv import KvType, check_kv_type, kv_bytes, kv_type_for
from edgeproxy.llama.library import build, quantize, system_info, version
from edgeproxy.llama.params import MAX_ROWS
from edgeproxy.llama.weights import Unloaded, Weights, context_length

__all__ = [
    "MAX_ROWS",
    "Adapter",
    "Embedder",
    "KvType",
    "LlamaModel",
    "SamplerChain",
    "Unloaded",
    "Weights",
    "build",
    "check_kv_type",
    "compute_bytes",
    "context_length",
    "kv_bytes",
    "kv_type_for",
    "padded",
    "quantize",
    "system_info",
    "version",
    "vocabulary_bytes",
    "weights_bytes",
]
