"""A flow that takes more memory than its host has."""

from prefect import flow

MIB = 1 << 20


@flow(name="greedy")
def greedy(mib: int) -> None:
    """Allocate memory and use it."""
    held = [b"\1" * MIB for _ in range(mib)]
    raise MemoryError(f"allocated {len(held)} MiB without being killed")
