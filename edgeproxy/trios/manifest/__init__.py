"""A trio's manifest: what it may say (`recipe`), read strictly (`read`) and written (`write`).

The same schema serves a `trio.toml` beside its files, an installed trio, and a recipe, which says
where on a hub the files are.
"""

from edgeproxy.trios.manifest.fitted import Fitted, Result
from edgeproxy.trios.manifest.read import Place, parse_recipe, read_pullable, read_recipe
from edgeproxy.trios.manifest.recipe import (
    MANIFEST,
    ROLES,
    Documents,
    Footprint,
    Lora,
    Readers,
    Recipe,
    Role,
    Source,
)
from edgeproxy.trios.manifest.write import to_toml

__all__ = [
    "MANIFEST",
    "ROLES",
    "Documents",
    "Fitted",
    "Footprint",
    "Lora",
    "Place",
    "Readers",
    "Recipe",
    "Result",
    "Role",
    "Source",
    "parse_recipe",
    "read_pullable",
    "read_recipe",
    "to_toml",
]
