"""Print CPU and memory of a whole run, beside the recipe in use, and of the walk, beside bare zstd."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

from benchmarks import bucket
from benchmarks.download import downloads
from benchmarks.idle import idle
from benchmarks.recipe import recipe_cpu_seconds
from benchmarks.walk import walk_ratios
from bigearthnet.dataset import CARD
from bigearthnet.plan.recipe import KINDS
from bigearthnet.sample import make_sample
from tests.support.record_server import RecordServer
from tests.support.s3_server import S3Server, running


def main() -> None:
    """Run all of it; minutes, of which making the samples takes most."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--patches", type=int, default=2000, help="for the CPU figures (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of run and recipe, in turn (%(default)s)")
    parser.add_argument("--idle-seconds", type=int, default=300, help="of idle services (%(default)s)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as text, prefect_test_harness(server_startup_timeout=120):
        # The harness starts a server and sets the API's URL for this process; its children get it from here.
        os.environ["PREFECT_API_URL"] = str(PREFECT_API_URL.value())
        folder = Path(text)
        sample = _sample(folder, asked.patches)
        _cpu(folder, sample, asked.patches, asked.rounds)
        _walk(sample)
        _download(folder)
        _memory(folder)
        _bucket(folder)
    _idle(asked.idle_seconds)


def _cpu(folder: Path, sample: Path, patches: int, rounds: int) -> None:
    print(f"\nCPU of {patches:,} patches, on one core: this project's run, and the recipe in use")
    for i in range(rounds):
        run = _run(sample, folder / f"run-{i}")["cpu_seconds"]
        recipe = recipe_cpu_seconds(sample, folder / f"recipe-{i}")
        print(
            f"  run {1000 * run / patches:.2f} ms a patch, recipe {1000 * recipe / patches:.2f} ms a patch, "
            f"recipe / run = {recipe / run:.1f}"
        )


def _walk(sample: Path) -> None:
    print("\nReading the images' archive, in ratio to bare zstd decompression of the same file")
    for ratios in walk_ratios(sample):
        print(f"  tar walk {ratios.walk:.3f}, walk with names checked {ratios.reader:.3f}")


def _memory(folder: Path) -> None:
    print("\nPeak memory of the flow's process")
    for patches in (500, 5000):
        found = _run(_sample(folder, patches), folder / f"memory-{patches}")
        print(f"  {patches:,} patches: {found['peak_mib']:.0f} MiB")


def _bucket(folder: Path) -> None:
    print("\nA whole run into a bucket of a real S3 server, from a stream")
    swift = folder / "swift"
    swift.mkdir()
    with running(swift) as server:
        server.client().create_bucket(Bucket="bench")
        for patches, tiles in ((500, 4), (5000, 4), (8269, 1)):  # the record's largest tile
            name = f"bucket-{patches}"
            found = _run(
                _sample(folder, patches, tiles),
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
        _uploads(server, folder)


def _uploads(server: S3Server, folder: Path) -> None:
    file = folder / "upload.bin"
    file.write_bytes(os.urandom(1 << 20) * 300)
    print("\nCPU of uploading 300 MiB, without the start of the programs")
    for _ in range(3):
        theirs = bucket.aws_cpu_seconds(server, file)
        beside = "no aws here" if theirs is None else f"aws s3 cp {theirs:.2f} s"
        print(f"  this project {bucket.upload_cpu_seconds(server, file):.2f} s, {beside}")


def _download(folder: Path) -> None:
    print("\nDownload over several connections, each of which gets 2 MB/s")
    found = downloads(folder)
    for most, one in found.items():
        print(
            f"  {most}: {one.seconds:.1f} s, {found[1].seconds / one.seconds:.2f} times as fast as one, "
            f"{one.cpu:.1f} s of CPU a GB"
        )


def _idle(seconds: int) -> None:
    print("\nServer and worker of the host while nothing happens; a t2.micro earns 10 % of a core")
    found = idle(seconds)
    print(f"  over {seconds} s: server {found.server:.2f} %, worker {found.worker:.2f} % of a core")


def _sample(folder: Path, patches: int, tiles: int = 4) -> Path:
    sample = folder / f"sample-{patches}-{tiles}"
    if not sample.exists():
        print(f"making a sample of {patches:,} patches ...", flush=True)
        sizes = [2 * patches * n // (tiles * (tiles + 1)) for n in range(1, tiles)]  # as 1 : 2 : 3 and so on
        make_sample(sample, [*sizes, patches - sum(sizes)])
    return sample


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


if __name__ == "__main__":
    main()
