"""The lake as Delta tables, in local folders or OneLake; `make_lake` is all that others need."""

from claimx.adapters.lake.container import make_lake
from claimx.adapters.lake.delta import DeltaLake
from claimx.adapters.lake.layout import Sizes
from claimx.adapters.lake.upkeep import Maintained

__all__ = ["DeltaLake", "Maintained", "Sizes", "make_lake"]
