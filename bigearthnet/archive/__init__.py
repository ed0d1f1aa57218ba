"""Reading archives: tar, zstd, and the tile bundles that are extracted from them."""
