"""S3 servers that fail, refuse, or cannot do everything."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from random import Random
from urllib.parse import parse_qs, urlsplit

import tasks.connect
from campaign.registry import kind
from campaign.s3_proxy import Answer, Asked, Rule, S3Proxy
from campaign.trial import Trial
from campaign.world import large_world, remove_bucket
from tests.support.places import BucketPlace
from tests.support.runs import Home, save_block

TRIES = 10


def patient() -> None:
    """In a child: repeat a request as often as a run does outside of tests, but without long waits."""
    tasks.connect._ATTEMPTS = TRIES  # type: ignore[misc]
    random.seed(1)


def _disturb(trial: Trial, home: Home, rule: Rule, change: Callable[[], None] | None = None) -> int:
    """Run with the proxy in front, then without; returns the exit status of the first run."""
    server = trial.world.s3
    with S3Proxy(server.port, rule) as proxy:
        proxied = replace(home, block=save_block(server, url=proxy.url))
        transfer = trial.random.choice(["keep", "stream"])
        status = trial.require_end(trial.begin(proxied, change=change, transfer=transfer), home)
    trial.require_recovery(home)
    return status


def _some(chance: Random, share: float, answers: list[Answer]) -> Rule:
    """Let a share of all requests go wrong."""
    return lambda _: chance.choice(answers) if chance.random() < share else None


def _after(count: int, answer: Rule) -> Rule:
    """Let requests go wrong after so many."""
    passed = iter(range(count))
    return lambda asked: answer(asked) if next(passed, None) is None else None


def _any_moment(trial: Trial) -> int:
    return trial.random.randint(1, 2 * len(trial.world.bucket_steps))


@kind("s3-500", weight=2, seconds=25)
def server_errors(trial: Trial) -> None:
    """A tenth of all requests is answered by 500 or 503, done or not."""
    answers = [
        Answer(status, code, done)
        for status, code in ((500, "InternalError"), (503, "SlowDown"))
        for done in (False, True)
    ]
    rule = _some(trial.random, 0.1, answers)
    if trial.random.random() < 0.5:
        assert _disturb(trial, trial.bucket_home(), rule, patient) == 0
    else:
        _disturb(trial, trial.bucket_home(), rule)


@kind("s3-drop", weight=2, seconds=25)
def dropped_connections(trial: Trial) -> None:
    """A tenth of all connections ends before the request, or in the middle of the answer."""
    _disturb(trial, trial.bucket_home(), _some(trial.random, 0.1, [Answer(0), Answer(0, done=True)]))


@kind("s3-keys-revoked")
def revoked_keys(trial: Trial) -> None:
    """From some request on, the keys are not valid any more."""
    answer = trial.random.choice(
        [Answer(403, "InvalidAccessKeyId"), Answer(403, "AccessDenied"), Answer(400, "ExpiredToken")]
    )
    _disturb(trial, trial.bucket_home(), _after(_any_moment(trial), lambda _: answer))


@kind("s3-bucket-deleted")
def deleted_bucket(trial: Trial) -> None:
    """At some request the bucket is deleted with all that is in it; before the next run it is there again."""
    home = trial.bucket_home()
    assert isinstance(home.place, BucketPlace)

    def delete(_: Asked) -> None:
        remove_bucket(home)

    server = trial.world.s3
    with S3Proxy(server.port, _after(_any_moment(trial), delete)) as proxy:
        proxied = replace(home, block=save_block(server, url=proxy.url))
        run = trial.begin(proxied)
        status = run.end()
    assert status == 0 or "NoSuchBucket" in run.log.read_text()
    remove_bucket(home)
    home.place.client.create_bucket(Bucket=home.place.bucket)
    trial.require_recovery(home)


@kind("s3-no-conditions")
def no_conditional_writes(trial: Trial) -> None:
    """The server answers 501 to conditional writes."""

    def refuse(asked: Asked) -> Answer | None:
        conditional = "If-Match" in asked.headers or "If-None-Match" in asked.headers
        return Answer(501, "NotImplemented") if conditional and asked.method in {"PUT", "DELETE"} else None

    _disturb(trial, trial.bucket_home(), refuse)


@kind("s3-no-part-copies", seconds=40)
def no_part_copies(trial: Trial) -> None:
    """The server cannot make a part from another object."""

    def refuse(asked: Asked) -> Answer | None:
        copies = "x-amz-copy-source" in asked.headers and "partNumber=" in asked.path
        return Answer(501, "NotImplemented") if copies else None

    trial = replace(trial, world=trial.world.lasting(large_world))
    _disturb(trial, trial.bucket_home(), refuse)


@kind("s3-equal-parts", seconds=40)
def equal_parts(trial: Trial) -> None:
    """All parts but the last one must have the same size, as R2 asks for."""
    sizes: dict[str, dict[int, int]] = {}

    def refuse(asked: Asked) -> Answer | None:
        query = parse_qs(urlsplit(asked.path).query)
        upload = sizes.setdefault(query.get("uploadId", [""])[0], {})
        if "partNumber" in query:
            copied = re.findall(r"\d+", asked.headers.get("x-amz-copy-source-range", ""))
            first, last = copied or (1, len(asked.body))
            upload[int(query["partNumber"][0])] = int(last) - int(first) + 1
        elif "uploadId" in query and asked.method == "POST":
            *others, _ = [size for _, size in sorted(upload.items())]
            return Answer(400, "InvalidPart") if len(set(others)) > 1 else None
        return None

    trial = replace(trial, world=trial.world.lasting(large_world))
    _disturb(trial, trial.bucket_home(), refuse)
