"""Other formats of a dataset, on request: tars for WebDataset, Parquet files for Hugging Face datasets.

Their files are made of a draft: PNGs are copied, never decoded. The same draft gives the same bytes.
"""

from bigearthnet.dataset.formats.write import keep_files, write_files

__all__ = ["keep_files", "write_files"]
