"""Trios from a hub of model files: found, fetched, checked against their recipe, and installed.

    wanted   a recipe's name, its file, or three references -> a recipe
    hub      what a hub says of a file, and its bytes, by way of `huggingface_hub`
    fetch    one file, whatever happens to the connection on the way
    check    whether the files are the recipe's models, and make a trio
    install  all of it, in order

May touch: the network, the store, and the hub's cache (read only). Import it where something is
pulled, and nowhere else: `huggingface_hub` takes a fifth of a second, and belongs to the network.
"""

from edgeproxy.trios.pull.fetch import Watch
from edgeproxy.trios.pull.hub import Hub
from edgeproxy.trios.pull.install import Pulled, pull
from edgeproxy.trios.pull.wanted import named, of_references

__all__ = ["Hub", "Pulled", "Watch", "named", "of_references", "pull"]
