"""INSTALL.txt: what a person with a bundle, Python and no network has to type."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Wheels:
    """The wheels that a bundle carries: edgeproxy with these extras, and all that it needs."""

    paths: Sequence[Path] = field(repr=False)
    extras: Sequence[str]
    platform: str
    """The Python and the system that they are for, as a person would say it."""


_HEAD = """\
This bundle carries to a machine without a network: {what}.

Below, BUNDLE stands for the name of its file, and FOLDER for one that you choose. Every other
word is to be typed as it stands.
"""

_PLAIN = """\
1. Install edgeproxy on that machine, if it is not there yet. This bundle does not hold it; one
   made with "edgeproxy bundle create --wheels" does.

2. Check the bundle, and install what is in it:

     edgeproxy bundle install BUNDLE

3. Talk:

     edgeproxy chat --trio {first}
"""

_WHEELS = """\
1. You need Python; nothing else, and no compiler. The wheels are for
   {platform}.
   This tells which Python you have:

     {python} --version

2. Unpack the bundle:

     {python} -m tarfile -e BUNDLE FOLDER

3. Install edgeproxy from the wheels in it:

     {python} -m venv FOLDER/env
     {bin}python -m pip install --no-index --find-links FOLDER/wheels "edgeproxy{extras}"

   (Debian and Ubuntu keep the second word of the first line in a package: python3-venv.)

4. Check the bundle, and install the trios in it:

     {bin}edgeproxy bundle install BUNDLE

5. Talk:

     {bin}edgeproxy chat --trio {first}

FOLDER/models, FOLDER/wheels and BUNDLE are no longer needed then.

llama.cpp was compiled where the bundle was made. If edgeproxy ends with "illegal instruction", this
machine's processor lacks what that one has; make the bundle on a machine like this one.
"""

_SIGNED = """\
The bundle is signed. Who has the public key can check that by adding "--key PUBLIC-KEY-FILE" to
"bundle install"; and before anything is installed, with minisign, on the unpacked files:

     minisign -V -m manifest.json -p PUBLIC-KEY-FILE

manifest.json has the sha256 of every other file.
"""


def instructions(trios: Sequence[str], wheels: Wheels | None, is_signed: bool) -> str:
    """The text of INSTALL.txt."""
    what = ", ".join(trios) + (", and edgeproxy itself" if wheels else "")
    parts = [_HEAD.format(what=what)]
    if wheels is None:
        parts.append(_PLAIN.format(first=trios[0]))
    else:
        windows = os.name == "nt"
        parts.append(
            _WHEELS.format(
                platform=wheels.platform,
                python="py" if windows else f"python{sys.version_info[0]}",
                bin="FOLDER\\env\\Scripts\\" if windows else "FOLDER/env/bin/",
                extras=f"[{','.join(wheels.extras)}]" if wheels.extras else "",
                first=trios[0],
            )
        )
    if is_signed:
        parts.append(_SIGNED)
    return "\n".join(parts)
