"""Print what a run takes, beside the recipe in use and the floors of its libraries."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

from benchmarks import bucket
from benchmarks.compare import stages
from benchmarks.download import downloads
from benchmarks.extraction import patches_a_second
from benchmarks.idle import idle
from benchmarks.recipe import recipe_cpu_seconds
from benchmarks.samples import sample_of
from benchmarks.stages import extractor
from bigearthnet.dataset import CARD
from bigearthnet.plan.recipe import KINDS
from tests.support.record_server import RecordServer
from tests.support.s3_server import S3Server, running

GROWTH = (500, 2000, 5000, 20_000)


def main() -> None:
    """Run all of it, or some parts; a quarter of an hour."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--patches", type=int, default=2000, help="for the CPU figures (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of run and recipe, in turn (%(default)s)")
    parser.add_argument("--idle-seconds", type=int, default=300, help="of idle services (%(default)s)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=list(_PARTS), help="parts to run")
    asked = parser.parse_args()
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as text:

        def run(parts: Collection[str]) -> None:
            figures.update({part: _PARTS[part](Path(text), asked) for part in asked.only if part in parts})

        run(_PARTS.keys() - _FLOWS)
        if _FLOWS.intersection(asked.only):
            with prefect_test_harness(server_startup_timeout=120):
                # It starts a server and sets the API's URL for this process; its children get it from here.
                os.environ["PREFECT_API_URL"] = str(PREFECT_API_URL.value())
                run(_FLOWS)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")


def _stages(_: Path, __: argparse.Namespace) -> object:
    return {name: asdict(figure) | {"ratio": figure.ratio} for name, figure in stages().items()}


def _cpu(folder: Path, asked: argparse.Namespace) -> object:
    print(f"\nCPU of {asked.patches:,} patches, on one core: this project's run, and the recipe in use")
    sample, rounds = sample_of(folder, asked.patches), []
    for i in range(asked.rounds):
        run = 1000 * _run(sample, folder / f"run-{i}")["cpu_seconds"] / asked.patches
        recipe = 1000 * recipe_cpu_seconds(sample, folder / f"recipe-{i}") / asked.patches
        print(
            f"  run {run:.2f} ms a patch, recipe {recipe:.2f} ms a patch, recipe / run = {recipe / run:.1f}"
        )
        rounds.append({"run_ms": run, "recipe_ms": recipe})
    return rounds


def _extraction(folder: Path, _: argparse.Namespace) -> object:
    print(f"\nPatches a second that one archive gives, on {len(os.sched_getaffinity(0))} cores")
    sample = sample_of(folder, 2000, tiles=1)
    with extractor(sample) as opened:
        patch_ids = [patch_id for patch_id, _ in groupby(read[0].patch_id for read in opened.images)]
    found = patches_a_second(sample, folder, patch_ids)
    for name, count in found.items():
        print(f"  {name}: {count:,.0f}")
    return found


def _growth(folder: Path, _: argparse.Namespace) -> object:
    print("\nCPU and peak memory of the flow's process")
    found, before = [], (0, 0.0)
    for patches in GROWTH:
        run = _run(sample_of(folder, patches, level=1), folder / f"growth-{patches}")
        more = 1000 * (run["cpu_seconds"] - before[1]) / (patches - before[0])
        before = patches, run["cpu_seconds"]
        print(
            f"  {patches:,} patches: {1000 * run['cpu_seconds'] / patches:.2f} ms a patch, {more:.2f} ms for "
            f"each more than before, {run['peak_mib']:.0f} MiB"
        )
        found.append({"patches": patches, "more_ms": more, **run})
    return found


def _publication(folder: Path, _: argparse.Namespace) -> object:
    print("\nJoin, manifest and documents of as many patches as the record has, from drawn rows")
    place = folder / "publication"
    place.mkdir()
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.publication", place], stdout=subprocess.PIPE, check=True
    )
    found: dict[str, float] = json.loads(child.stdout)
    print(
        f"  {found['cpu_seconds']:.1f} s of CPU, {found['peak_mib']:.0f} MiB at most, of which publishing "
        f"added {found['rise_mib']:.0f}"
    )
    return found


def _bucket(folder: Path, _: argparse.Namespace) -> object:
    print("\nA whole run into a bucket of a real S3 server, from a stream")
    swift, runs = folder / "swift", []
    swift.mkdir()
    with running(swift) as server:
        server.client().create_bucket(Bucket="bench")
        for patches, tiles in ((500, 4), (5000, 4), (8269, 1)):  # the record's largest tile
            name = f"bucket-{patches}"
            found = _run(
                sample_of(folder, patches, tiles),
                folder / name,
                f"s3://bench/{name}",
                bucket.environment(server),
            )
            card = json.load(server.client().get_object(Bucket="bench", Key=f"{name}/{CARD}")["Body"])
            shards = sum(tile[kind]["stop"] - tile[kind]["start"] for tile in card["tiles"] for kind in KINDS)
            print(
                f"  {patches:,} patches in {tiles} tiles: {found['peak_mib']:.0f} MiB at most, sent "
                f"{found['bytes_sent'] / shards:.3f} times the {shards / 1e6:.1f} MB of the shards, "
                f"{1000 * found['cpu_seconds'] / patches:.2f} ms of CPU a patch"
            )
            runs.append({"patches": patches, "tiles": tiles, "shard_bytes": shards, **found})
        return {"runs": runs, "upload_300_mib": _uploads(server, folder)}


def _uploads(server: S3Server, folder: Path) -> object:
    file = folder / "upload.bin"
    file.write_bytes(os.urandom(1 << 20) * 300)
    print("\nCPU of uploading 300 MiB, without the start of the programs")
    turns = []
    for _ in range(3):
        ours, theirs = bucket.upload_cpu_seconds(server, file), bucket.aws_cpu_seconds(server, file)
        beside = "no aws here" if theirs is None else f"aws s3 cp {theirs:.2f} s"
        print(f"  this project {ours:.2f} s, {beside}")
        turns.append({"ours_seconds": ours, "aws_seconds": theirs})
    return turns


def _download(folder: Path, _: argparse.Namespace) -> object:
    print("\nDownload over several connections, each of which gets 2 MB/s")
    found = downloads(folder)
    for most, one in found.items():
        print(
            f"  {most}: {one.seconds:.1f} s, {found[1].seconds / one.seconds:.2f} times as fast as one, "
            f"{one.cpu:.1f} s of CPU a GB"
        )
    return {most: asdict(one) for most, one in found.items()}


def _idle(_: Path, asked: argparse.Namespace) -> object:
    print("\nServer and worker of the host while nothing happens; a t2.micro earns 10 % of a core")
    found = idle(asked.idle_seconds)
    print(
        f"  over {asked.idle_seconds} s: server {found.server:.2f} %, worker {found.worker:.2f} % of a core"
    )
    return asdict(found)


def _run(
    sample: Path,
    folder: Path,
    destination: str = "",
    environment: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """Run the flow against a record server on loopback, in a process of its own on one core."""
    folder.mkdir()
    with RecordServer(sample) as server:
        child = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.one_run", server.record_url),
                *(destination or f"{folder}/dataset", f"{folder}/work", "stream" if destination else "keep"),
            ],
            env={**environment, "PREFECT_LOGGING_LEVEL": "WARNING"},
            stdout=subprocess.PIPE,
            check=True,
        )
    found: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return found


_PARTS = {
    "stages": _stages,
    "cpu": _cpu,
    "growth": _growth,
    "publication": _publication,
    "extraction": _extraction,
    "download": _download,
    "bucket": _bucket,
    "idle": _idle,
}
_FLOWS = {"cpu", "growth", "bucket"}
"""Parts that run flows, and need a Prefect server."""

if __name__ == "__main__":
    main()
