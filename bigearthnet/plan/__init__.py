"""What to make: metadata, selection, the recipe of a dataset, and an estimate of what a run needs."""

from bigearthnet.plan.estimate import Estimate, describe_needs, estimate, require_room
from bigearthnet.plan.metadata import Metadata, read_metadata
from bigearthnet.plan.recipe import KINDS, Kind, Recipe, RecordUsed
from bigearthnet.plan.selection import Plan, TilePlan, plan_tiles

__all__ = [
    "KINDS",
    "Estimate",
    "Kind",
    "Metadata",
    "Plan",
    "Recipe",
    "RecordUsed",
    "TilePlan",
    "describe_needs",
    "estimate",
    "plan_tiles",
    "read_metadata",
    "require_room",
]
