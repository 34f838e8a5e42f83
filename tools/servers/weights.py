"""What vLLM serves of a GGUF model, and the same numbers as a GGUF file to compare it with.

    FOLDER/MODEL/          weights in float32 as safetensors, settings and tokenizer
    FOLDER/MODEL.F32.gguf  the same weights

A quantised file's weights are dequantised, which is exact in float32.

May touch: the folder that it is given; starts vLLM's environment's Python.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from edgeproxy.cli.ui.progress import Working
from edgeproxy.files import replacing
from edgeproxy.gguf import read
from edgeproxy.trios.disk import lock
from tools.incoming import incoming
from tools.models.regguf import Place, Value, aligned, header_of, metadata_of
from tools.servers.build import call
from tools.servers.environment import program

_SCRIPT = Path(__file__).with_name("from_gguf.py")
_FILE_TYPE = "general.file_type"
_F32 = int(gguf.GGMLQuantizationType.F32)


def write_served(environment: Path, source: Path, folder: Path, work: Working) -> Path:
    """The folder in `folder` with what vLLM serves of a GGUF model, written where it is not there.

    Raises `Cancelled`, `EdgeproxyError` and `OSError`; then nothing is left.
    """
    served = folder / source.stem
    read(source)  # a file that is no model is told here, and not by transformers
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / ".lock"):
        if served.is_dir():
            return served
        with incoming(folder) as temporary:
            python = str(program(environment, "python"))
            # Without -I this package's folder would be where Python looks for vLLM's modules.
            asked = [python, "-I", str(_SCRIPT), str(source.absolute()), str(temporary)]
            call(asked, f"writing {source.stem} for vLLM", work)
            temporary.replace(served)  # last, so that what is there is whole
    return served


def write_floats(source: Path, target: Path, work: Working) -> Path:
    """Write the model at `source` to `target` with all weights in float32. Raises as `read`."""
    header = read(source)
    metadata = metadata_of(source.read_bytes(), header)
    if _FILE_TYPE in metadata:
        metadata[_FILE_TYPE] = Value(metadata[_FILE_TYPE].kind, bytes(4))  # 0: all in float32
    tensors = gguf.GGUFReader(source).tensors
    places = [
        Place(t.name, tuple(int(n) for n in t.shape), _F32, int(t.n_elements) * 4) for t in tensors
    ]
    with replacing(target) as out:
        out.write(header_of(metadata, places))
        for number, tensor in enumerate(tensors):
            work.tell(f"{target.name}: {number} of {len(tensors)} tensors")
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            out.write(aligned(np.ascontiguousarray(values, "<f4").tobytes()))
    return target
