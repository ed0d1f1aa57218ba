"""Feeds the parsers damaged and hostile input: memory and time are bounded, and only own errors come out."""
