"""One trial: a disturbed run, and what must hold after it."""

import os
import re
import shutil
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from campaign.world import RUN_SECONDS, Start, World, remove_bucket
from tests.support.places import BucketPlace
from tests.support.published import CARD, Published
from tests.support.runs import Home
from tests.support.zygote import Kill, Zygote

OWN_ERRORS: Final = ("bigearthnet.errors.",)


class Skipped(Exception):  # noqa: N818 - nothing is wrong with the project
    """A kind of fault cannot be tried on this machine; the message says why."""


@dataclass
class Run:
    """A run in a child process, see `Trial.begin`."""

    process: int
    zygote: Zygote
    log: Path

    def end(self, seconds: float = RUN_SECONDS) -> int:
        """Wait for the run's end; returns its exit status, negative for a signal.

        Raises:
            AssertionError: it did not end within so many seconds.
        """
        return self.zygote.end(seconds)

    def signal_after(self, seconds: float, number: signal.Signals) -> None:
        """Send a signal, unless the run ends before."""
        if not self.zygote.ends_within(seconds):
            os.kill(self.process, number)


@dataclass
class Trial:
    """Made for each trial; its runs are killed at its end.

    Attributes:
        world: what all trials share.
        folder: of this trial alone. It is kept if the trial fails.
        random: depends on the campaign's seed, the kind and the trial's number alone.
        stack: left at the end of the trial, before its folder is removed.
    """

    world: World
    folder: Path
    random: Random
    stack: ExitStack = field(default_factory=ExitStack)
    _homes: list[Home] = field(default_factory=list)
    _runs: int = 0

    def __enter__(self) -> "Trial":
        self.folder.mkdir(parents=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        buckets = [home for home in self._homes if isinstance(home.place, BucketPlace)]
        with self.stack:
            for number, home in enumerate(buckets):
                if kind is not None and issubclass(kind, Exception):
                    self._save(home, self.folder / f"bucket-{number}")
                remove_bucket(home)

    def folder_home(self, root: Path | None = None) -> Home:
        """Return a work folder and a destination below `root`, with the old dataset."""
        home = Home.folder(root or self.folder)
        shutil.copytree(self.world.old_home.destination, home.destination)
        return home

    def bucket_home(self) -> Home:
        """Return a work folder, and a destination in a bucket of its own, with the old dataset."""
        home = self.world.copy_old_bucket(self.folder / "work")
        self._homes.append(home)
        return home

    def begin(
        self,
        home: Home,
        *,
        kill: Kill | None = None,
        change: Callable[[], object] | None = None,
        **parameters: Any,
    ) -> Run:
        """Begin a run of `prepare` from the record, with a log in the trial's folder.

        Args:
            home: where it works.
            kill: the step before which it kills itself.
            change: called in the child before the run; can be pickled.
            parameters: of the flow, in place of the default ones.
        """
        self._runs += 1
        log = self.folder / f"run-{self._runs}.log"
        start = Start(log, change)
        zygote = self.stack.enter_context(Zygote(self.folder / f"run-{self._runs}.steps", start))
        wanted = {"source": self.world.record.record_url, **home.options, **parameters}
        return Run(zygote.begin("prepare", kill, home.work.parent, **wanted), zygote, log)

    def require_end(self, run: Run, home: Home) -> int:
        """Wait for a run that may fail or be killed, but only so as promised; returns its exit status.

        Raises:
            AssertionError: it ended well without the new dataset, or with an error that is not the project's
                own, or the published dataset is neither the old nor the new one.
        """
        status = run.end()
        self.require_old_or_new(home)
        if status == 0:
            assert Published.of(home.files()) == self.world.new, "it ended well without the new dataset"
        elif status > 0:
            errors = re.findall(
                r"^[\w.]+(?:Error|Exception|Interrupt|Run)\b.*", run.log.read_text(), re.MULTILINE
            )
            assert errors, f"it ended with status {status} without an error"
            assert errors[-1].startswith(OWN_ERRORS), f"not an error of the project: {errors[-1]}"
        return status

    def require_old_or_new(self, home: Home) -> None:
        """Raise AssertionError if a card is published, and not all of the files that it was written for."""
        found = Published.of(home.files()).sha256
        if CARD in found:
            is_old = found[CARD] == self.world.old.sha256[CARD]
            wanted = self.world.old if is_old else self.world.new
            assert wanted.sha256.items() <= found.items(), "a published dataset is not whole"

    def require_recovery(self, home: Home, **parameters: Any) -> None:
        """Raise AssertionError if the next run does not publish the new dataset, or anything else is left."""
        run = self.begin(home, **parameters)
        status = run.end()
        assert status == 0, f"the next run ended with status {status}; see {run.log}"
        is_folder = not isinstance(home.place, BucketPlace)
        found = Published.read(home.destination) if is_folder else Published.of(home.files())
        assert found == self.world.new, "the next run published something else than an undisturbed run"
        assert not home.place.unfinished(), "an unfinished upload is left"
        assert not home.strays(), "an unfinished file is left in the work folder"

    @staticmethod
    def _save(home: Home, folder: Path) -> None:
        """Copy what is in a bucket."""
        for name, data in home.place.files().items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
