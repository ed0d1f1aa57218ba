"""Records and their bytes: Zenodo, folders and HTTP."""
