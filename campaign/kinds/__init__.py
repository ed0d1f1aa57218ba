"""The kinds of faults; importing the modules registers them."""

from campaign.kinds import kills

__all__ = ["kills"]
