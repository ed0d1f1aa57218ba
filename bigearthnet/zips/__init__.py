"""Zips of stored members: their format, shards and joining."""
