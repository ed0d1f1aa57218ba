"""Places that hold named files: folders and S3 prefixes."""
