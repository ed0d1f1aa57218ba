"""Datasets and archives in S3 buckets. `objects` is the lowest room; no other package knows boto3."""
