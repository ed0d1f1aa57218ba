"""From a tile's bundles to its shards and rows."""

from bigearthnet.tile.convert import Conversion, ConvertedTile, Held, Rejected, convert_tile, shard_file

__all__ = ["Conversion", "ConvertedTile", "Held", "Rejected", "convert_tile", "shard_file"]
