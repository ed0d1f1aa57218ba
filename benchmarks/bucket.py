"""What publishing to a bucket costs: memory and bytes of a whole run, CPU of an upload beside `aws s3 cp`."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.s3_server import REGION, S3Server

UPLOAD = """
import sys
from pathlib import Path
from tasks.connect import open_store
open_store(sys.argv[2], "").upload(Path(sys.argv[1]), "ours.bin")
"""
EMPTY = "from tasks.connect import open_store; open_store('s3://bench/x', '')"


def environment(server: S3Server) -> Mapping[str, str]:
    """Where boto3 and `aws` find the server and its keys."""
    return {
        **os.environ,
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PREFECT_LOGGING_LEVEL": "WARNING",
    }


def upload_cpu_seconds(server: S3Server, file: Path) -> float:
    """CPU seconds of this project's upload of a file, without starting Python and making a client."""
    whole = _cpu([sys.executable, "-c", UPLOAD, str(file), "s3://bench/upload"], server)
    return whole - _cpu([sys.executable, "-c", EMPTY], server)


def aws_cpu_seconds(server: S3Server, file: Path) -> float | None:
    """CPU seconds of `aws s3 cp` of the same file, without its start; None where there is no `aws`."""
    aws = shutil.which("aws")
    if aws is None:
        return None
    whole = _cpu([aws, "s3", "cp", "--quiet", str(file), "s3://bench/upload/theirs.bin"], server)
    return whole - _cpu([aws, "s3", "ls", "s3://bench/nothing/", "--page-size", "1"], server, may_fail=True)


def _cpu(command: list[str], server: S3Server, *, may_fail: bool = False) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment(server), check=not may_fail, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
