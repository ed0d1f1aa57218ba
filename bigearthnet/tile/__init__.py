"""From a tile's bundles to its shards and rows."""
