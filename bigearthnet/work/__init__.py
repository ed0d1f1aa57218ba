"""The work folder: its layout, digests of its files, free space."""
