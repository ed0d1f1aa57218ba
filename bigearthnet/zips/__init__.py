"""Zips of stored members: their records as bytes, shards, and joining shards to one zip."""

from bigearthnet.zips.format import local_header
from bigearthnet.zips.join import CentralDirectory, data_offsets
from bigearthnet.zips.shard import ShardWriter

__all__ = ["CentralDirectory", "ShardWriter", "data_offsets", "local_header"]
