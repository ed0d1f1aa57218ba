"""From a tile's members of the archives to its shards and rows."""
