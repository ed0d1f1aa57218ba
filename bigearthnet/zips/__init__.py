"""Zips of stored members: their records as bytes, shards, and joining shards to one zip."""
