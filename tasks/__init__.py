"""Prefect tasks: retries, cache keys, logs and artifacts around `bigearthnet`."""
