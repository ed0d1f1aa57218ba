"""From a tile's members of the archives to its shards and rows."""

from bigearthnet.tile.extract import Extractor
from bigearthnet.tile.raster import Georeference, Pixels, decode, georeference
from bigearthnet.tile.render import Image, Mask, render_image, render_mask

__all__ = [
    "Extractor",
    "Georeference",
    "Image",
    "Mask",
    "Pixels",
    "decode",
    "georeference",
    "render_image",
    "render_mask",
]
