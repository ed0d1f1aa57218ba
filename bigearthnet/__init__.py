"""BigEarthNet v2 as plain typed Python: names, rasters, archives and zips, without Prefect."""

from importlib.metadata import version

__version__ = version("bigearthnet-prefect")
