"""Where installed trios live: a folder of this user's. Nothing is created here."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """The platform's data folder for edgeproxy, or the one that `EDGEPROXY_HOME` names."""
    chosen = os.environ.get("EDGEPROXY_HOME")
    return Path(chosen) if chosen else platformdirs.user_data_path("edgeproxy", appauthor=False)
