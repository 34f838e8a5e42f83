"""Puts quantised models and their manifest into a folder, replacing files one by one."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable
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
    folder: Path, networks: dict[str, Network], tokenizer: Tokenizer, kind: str
) -> None:
    """Write each network (by role) as a GGUF file of type `kind` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for role, network in networks.items():
            file, prompt, name = ROLES[role]
            full = Path(scratch) / file
            write_gguf(full, network, tokenizer, name, chat=prompt == "chatml")
            part = (folder / file).with_suffix(".part")
            quantize(full, part, kind)
            part.replace(folder / file)


def copy_models(source: Path, target: Path, roles: Iterable[str]) -> None:
    """Copy the files of `roles` from one trio's folder to another's."""
    for role in roles:
        file = ROLES[role][0]
        part = (target / file).with_suffix(".part")
        shutil.copyfile(source / file, part)
        part.replace(target / file)


def write_manifest(folder: Path, description: str, alpha: float, plausibility: float) -> None:
    """Write trio.toml for the files that are in `folder`; the trio is called as the folder is."""
    lines = [
        f'name = "{folder.name}"',
        f'description = "{description}"',
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
