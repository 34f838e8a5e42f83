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

LORA = "lora.gguf"
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
    tables = _tables(folder)
    _write(folder / "trio.toml", folder.name, description, alpha, plausibility, tables)


def write_lora_manifest(folder: Path, description: str, alpha: float, plausibility: float) -> None:
    """Write lora.toml: the trio that is in `folder`, but for its expert, which is lora.gguf."""
    tables = _tables(folder)
    adapter = ", ".join(_file(folder / LORA))
    tables["expert"] = [f"lora = {{ {adapter} }}", f'prompt = "{ROLES["expert"][1]}"']
    name = f"{folder.name}-lora"
    _write(folder / "lora.toml", name, description, alpha, plausibility, tables)


def _tables(folder: Path) -> dict[str, list[str]]:
    return {
        role: [*_file(folder / file), f'prompt = "{prompt}"']
        for role, (file, prompt, _) in ROLES.items()
    }


def _file(path: Path) -> list[str]:
    content = path.read_bytes()
    return [
        f'file = "{path.name}"',
        f'sha256 = "{hashlib.sha256(content).hexdigest()}"',
        f"size = {len(content)}",
    ]


def _write(
    path: Path,
    name: str,
    description: str,
    alpha: float,
    plausibility: float,
    tables: dict[str, list[str]],
) -> None:
    lines = [
        f'name = "{name}"',
        f'description = "{description}"',
        'licence = "MIT"',
        f"alpha = {alpha}",
        f"plausibility = {plausibility}",
    ]
    for role, content in tables.items():
        lines.append("")
        if role == "tuned":
            lines.append("# The base tuned directly: kept for `edgeproxy eval`, not in the wheel.")
        lines += [f"[{role}]", *content]
    part = path.with_suffix(".part")
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    part.replace(path)
