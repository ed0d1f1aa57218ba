"""The embedded sample, drawn in the form of the published dataset."""

from bigearthnet.sample.archives import (
    SAMPLE_TITLE,
    Sample,
    make_sample,
    patch_files,
    sample_patches,
    write_archive,
)

__all__ = ["SAMPLE_TITLE", "Sample", "make_sample", "patch_files", "sample_patches", "write_archive"]
