"""Trios in one file, to be carried to where no network is: made, verified, installed.

    manifest.json          every other file with path, size and sha256; one form, closed and bounded
    manifest.json.minisig  its signature, where the bundle is signed
    INSTALL.txt            what a person with nothing but Python types
    trios/<name>/          trio.toml, and the texts that belong to it
    wheels/                edgeproxy and all that it needs, where that was asked for
    models/<sha256>        each model file once, however many trios share it

The file is an uncompressed tar archive, so that Python alone can unpack it. What reads it here does
not: see `archive`.

    archive       the container's bytes
    manifest      what a bundle lists, and which lists are refused
    sign          minisign's keys and signatures
    reader        an open bundle, each file compared with its hash as it is read
    contents      manifests and models in it, checked
    install       a bundle's trios into the store
    repack        an installed distribution -> its wheel
    wheels        edgeproxy and all that it needs, as wheels
    install_text  INSTALL.txt
    sources       what goes into a bundle
    create        the bundle, written
"""

from edgeproxy.trios.bundle.contents import BundledTrio, verify
from edgeproxy.trios.bundle.create import check_target, create
from edgeproxy.trios.bundle.install import Installed, install
from edgeproxy.trios.bundle.install_text import Wheels
from edgeproxy.trios.bundle.manifest import Manifest
from edgeproxy.trios.bundle.reader import Bundle
from edgeproxy.trios.bundle.sign import PublicKey, SecretKey, make_keys
from edgeproxy.trios.bundle.wheels import collect

__all__ = [
    "Bundle",
    "BundledTrio",
    "Installed",
    "Manifest",
    "PublicKey",
    "SecretKey",
    "Wheels",
    "check_target",
    "collect",
    "create",
    "install",
    "make_keys",
    "verify",
]
