"""Reading archives: tar, zstd and tile bundles."""
