"""Records copied into a store: a folder, and a bucket of a real S3 server."""
