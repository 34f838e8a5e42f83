"""Where installed trios live: a folder of this user's. Nothing is created here."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from edgeproxy.files import own_folder

BLOBS = "blobs"
"""The folder in it with the model files of installed trios, named by their sha256."""

LOCK = "lock"
"""The file in it whose lock is held, for moments, by whoever changes anything there."""


def home() -> Path | None:
    """The platform's data folder for edgeproxy, or the one that `EDGEPROXY_HOME` names.

    None where the variable is not set and this user has no home folder.
    """
    return own_folder("EDGEPROXY_HOME", platformdirs.user_data_path)
