"""Prepare a dataset from the command line: `python -m flows --help`."""

import argparse
import sys
from collections.abc import Sequence

from bigearthnet.dataset.publish import IMAGES_ZIP, MASKS_ZIP, PREVIEW
from bigearthnet.names import ZENODO_RECORD
from bigearthnet.options import Selection
from flows.prepare import prepare
from tasks.resolve import SAMPLE


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `prepare` with what the command line says, and say where things are and what comes next."""
    parser = argparse.ArgumentParser(prog="python -m flows", description="Prepare BigEarthNet v2 as PNGs.")
    parser.add_argument("destination", help="folder that the dataset is published in, or s3://bucket/prefix")
    parser.add_argument(
        "--source", default=ZENODO_RECORD, help="record, folder, s3://… or sample (%(default)s)"
    )
    parser.add_argument("--work-dir", default="~/bigearthnet/work", help="folder for archives (%(default)s)")
    parser.add_argument("--transfer", choices=("keep", "stream"), default="keep", help="(%(default)s)")
    parser.add_argument("--max-patches", type=int, default=0, help="only the first so many; 0: all")
    parser.add_argument("--aws-credentials", default="", help="name of an AwsCredentials block")
    asked = parser.parse_args(arguments)
    done = prepare(
        source=asked.source,
        destination=asked.destination,
        selection=Selection(max_patches=asked.max_patches),
        transfer=asked.transfer,
        work_dir=asked.work_dir,
        aws_credentials=asked.aws_credentials,
    )
    sys.stdout.write(_farewell(done["destination"], done["patches"], asked.source))


def _farewell(destination: str, patches: int, source: str) -> str:
    lines = [
        "",
        f"{patches:,} patches are in",
        f"  {destination}/{IMAGES_ZIP}",
        f"  {destination}/{MASKS_ZIP}",
        f"and {destination}/{PREVIEW} shows a few of them.",
    ]
    if source == SAMPLE:
        lines += [
            "",
            "Next, the real dataset (the first 1,000 patches cost some 400 MB, all of them 64 GB):",
            '  make dataset DESTINATION=~/bigearthnet/dataset OPTIONS="--transfer stream --max-patches 1000"',
            "and the Prefect UI, which shows this run too, starts others, and syncs every night:",
            "  make serve",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
