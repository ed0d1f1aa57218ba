"""Stores in S3 buckets, and in what speaks its language; the only package that imports boto3."""

from bigearthnet.store.s3.store import S3Store
from bigearthnet.store.s3.translate import translate_errors

__all__ = ["S3Store", "translate_errors"]
