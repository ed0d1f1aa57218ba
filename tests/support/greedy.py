"""A flow that takes more memory than its host gives, for a test of what becomes of the host."""

from prefect import flow

MIB = 1 << 20


@flow(name="greedy")
def greedy(mib: int) -> None:
    """Take so much memory, and use it."""
    held = [b"\1" * MIB for _ in range(mib)]
    raise MemoryError(f"expected to be ended before, found {len(held)} MiB taken")
