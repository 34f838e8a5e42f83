"""llama.cpp behind the `Model` interface; nothing else in edgeproxy imports `llama_cpp`.

Reads downwards: `library` (the import, logs), `stream` (an open file), `weights` (a file in
memory), `adapter` (a small change of them), `tokenizer`, `batch` and `branches` (what is evaluated
at once), `owner` (one thread at a time), `kv` (the memory of a text), `state` (a KV cache as
bytes), `params` and `context` (one `Model`), `chain` (samplers on a row of ours).
"""

from edgeproxy.llama.adapter import Adapter
from edgeproxy.llama.chain import SamplerChain
from edgeproxy.llama.context import LlamaModel
from edgeproxy.llama.kv import KvType, check_kv_type
from edgeproxy.llama.library import quantize, version
from edgeproxy.llama.params import MAX_ROWS
from edgeproxy.llama.weights import Weights

__all__ = [
    "MAX_ROWS",
    "Adapter",
    "KvType",
    "LlamaModel",
    "SamplerChain",
    "Weights",
    "check_kv_type",
    "quantize",
    "version",
]
