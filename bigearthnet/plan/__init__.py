"""What to make: metadata, selection, and the recipe of a dataset."""
