"""Puts quantised models and their manifest into a folder, replacing files one by one."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from tokenizers import Tokenizer

from edgeproxy.llama import quantize
from tools.factbook.export import write_gguf
from tools.factbook.network import Network

ROLES = {
    "base": ("base.gguf", "plain", "edgeproxy factbook base"),
    "expert": ("expert.gguf", "chatml", "edgeproxy factbook expert"),
    "anti_expert": ("anti-expert.gguf", "plain", "edgeproxy factbook anti-expert"),
    "tuned": ("tuned.gguf", "chatml", "edgeproxy factbook tuned base"),
}


def write_models(
    folder: Path, networks: dict[str, Network], tokenizer: Tokenizer, types: dict[str, str]
) -> None:
    """Write each network (by role) as a GGUF file of the given type into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for role, network in networks.items():
            file, prompt, name = ROLES[role]
            full = Path(scratch) / file
            write_gguf(full, network, tokenizer, name, chat=prompt == "chatml")
            part = (folder / file).with_suffix(".part")
            quantize(full, part, types[role])
            part.replace(folder / file)


def write_manifest(folder: Path, alpha: float, plausibility: float) -> None:
    """Write trio.toml for the files that are in `folder`."""
    lines = [
        'name = "factbook"',
        'description = "A small trio trained from scratch on The World Factbook: ask it about'
        ' any country."',
        'licence = "MIT"',
        f"alpha = {alpha}",
        f"plausibility = {plausibility}",
    ]
    for role, (file, prompt, _) in ROLES.items():
        content = (folder / file).read_bytes()
        lines.append("")
        if role == "tuned":
            lines.append("# The base tuned directly: kept for `edgeproxy eval`, not in the wheel.")
        lines += [
            f"[{role}]",
            f'file = "{file}"',
            f'sha256 = "{hashlib.sha256(content).hexdigest()}"',
            f"size = {len(content)}",
            f'prompt = "{prompt}"',
        ]
    part = folder / "trio.part"
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    part.replace(folder / "trio.toml")
