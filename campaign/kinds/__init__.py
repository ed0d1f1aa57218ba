"""The kinds of faults; importing the modules registers them."""

from campaign.kinds import disks, kills, memory, services

__all__ = ["disks", "kills", "memory", "services"]
