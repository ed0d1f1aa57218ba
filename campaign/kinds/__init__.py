"""The kinds of faults; importing the modules registers them."""

from campaign.kinds import buckets, disks, kills, memory, network, services, suspensions

__all__ = ["buckets", "disks", "kills", "memory", "network", "services", "suspensions"]
