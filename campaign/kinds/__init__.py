"""The kinds of faults; importing the modules registers them."""

from campaign.kinds import buckets, kills, network, suspensions

__all__ = ["buckets", "kills", "network", "suspensions"]
