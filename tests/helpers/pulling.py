"""What tests of pulling have in common: a small trio on a hub, a recipe of it, a user's home."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeproxy.trios.store import Store
from tests.helpers.forked import Done, Forks, Run
from tests.helpers.gguf_files import draft
from tests.helpers.hub_server import REVISION, Hub

ROLES = ("base", "expert", "anti_expert")
TEMPLATE = "{% for m in messages %}{{ m.content }}\n{% endfor %}"


def models(width: int = 32) -> dict[str, bytes]:
    """The bytes of three small models that make a trio."""
    made = {}
    for seed, role in enumerate(ROLES):
        one = draft("llama", width=width)
        one.metadata["general.name"] = f"a test's {role}"
        if role == "expert":
            one.metadata["tokenizer.chat_template"] = TEMPLATE
        made[role] = one.bytes(seed)
    return made


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Home:
    """A user of a hub: a data folder, a cache of the hub's, and a way to call edgeproxy."""

    folder: Path
    hub: Hub
    forks: Forks
    env: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return Store(self.folder / "home")

    @property
    def cache(self) -> Path:
        return self.folder / "hf" / "hub"

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            kept.pop(name, None)
            kept.pop(name.lower(), None)
        return {
            **kept,
            "HF_ENDPOINT": self.hub.endpoint,
            "HF_HOME": str(self.folder / "hf"),
            "EDGEPROXY_HOME": str(self.folder / "home"),
            **self.env,
            **more,
        }

    def start(self, *arguments: object, **env: str) -> Run:
        return self.forks.start([*map(str, arguments)], self.environment(**env))

    def run(self, *arguments: object, **env: str) -> Done:
        return self.start(*arguments, **env).wait()

    def recipe(
        self,
        data: Mapping[str, bytes],
        name: str = "little",
        changes: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Path:
        """The recipe of these models, which are in `org/ROLE` as `ROLE.gguf`.

        `changes` are other values of a role's keys; None leaves one out.
        """
        lines = [f'name = "{name}"', 'licence = "MIT"', "plausibility = 0.01"]
        for role in ROLES:
            values: dict[str, Any] = {
                "repo": f"org/{role}",
                "revision": REVISION,
                "file": f"{role}.gguf",
                "sha256": sha256(data[role]),
                "size": len(data[role]),
                "architecture": "llama",
                "vocabulary": 268,
                "blocks": 2,
                "prompt": "chatml" if role == "expert" else "plain",
                **(changes or {}).get(role, {}),
            }
            lines.append(f"[{role}]")
            for key, value in values.items():
                if value is not None:
                    lines.append(f"{key} = {value if isinstance(value, int) else repr(value)}")
        path = self.folder / f"{name}.toml"
        path.write_text("\n".join(lines) + "\n", "utf-8")
        return path

    def put_in_cache(self, role: str, data: bytes) -> Path:
        """Put a file where `huggingface_hub` keeps what it has downloaded."""
        repo = self.cache / f"models--org--{role}"
        blob = repo / "blobs" / sha256(data)
        blob.parent.mkdir(parents=True)
        blob.write_bytes(data)
        link = repo / "snapshots" / REVISION / f"{role}.gguf"
        link.parent.mkdir(parents=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
        return blob


def serve(hub: Hub, data: Mapping[str, bytes]) -> None:
    """Put these models on the hub, each in a repository of its own."""
    for role, content in data.items():
        hub.add(f"org/{role}", f"{role}.gguf", content)


def check_installed(store: Store, name: str, data: Mapping[str, bytes]) -> None:
    """Assert that the trio is installed, and that its files are these, byte for byte."""
    recipe = store.recipe(name)
    for role, content in data.items():
        assert recipe.roles[role].path.read_bytes() == content


def check_whole(store: Store) -> None:
    """Assert that the store opens, and that all that is installed is what its name says."""
    for name in store.names():
        for role in store.recipe(name).roles.values():
            assert role.sha256 == sha256(role.path.read_bytes())
