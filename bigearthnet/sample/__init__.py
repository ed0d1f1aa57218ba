"""The embedded sample, drawn in the form of the published dataset."""

from bigearthnet.sample.archives import SAMPLE_TITLE, make_sample

__all__ = ["SAMPLE_TITLE", "make_sample"]
