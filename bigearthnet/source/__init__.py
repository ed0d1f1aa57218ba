"""Records and their bytes: from Zenodo, a folder or a bucket."""
