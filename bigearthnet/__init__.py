"""BigEarthNet v2 as plain typed Python: names, rasters, archives and zips, without Prefect."""

import os
from importlib.metadata import version

# Arrow's own pools keep what they once had: 40 MB more after the metadata. It reads this when imported.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

__version__ = version("bigearthnet-prefect")
