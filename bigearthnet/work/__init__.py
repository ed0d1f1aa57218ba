"""The work folder: its layout, and space on the disk."""
