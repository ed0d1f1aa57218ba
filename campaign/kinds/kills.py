"""Runs that are killed, once or several times, or cancelled."""

import signal

from campaign.registry import kind
from campaign.trial import Trial
from campaign.world import BUCKET_STEP
from tests.support.runs import Home
from tests.support.zygote import KILLED, Kill


@kind("kill-folder", weight=20)
def kill_in_a_folder(trial: Trial) -> None:
    """SIGKILL before a change to a file or folder, or at any moment."""
    _kill(trial, trial.folder_home(), len(trial.world.steps), "")


@kind("kill-bucket", weight=20)
def kill_in_a_bucket(trial: Trial) -> None:
    """SIGKILL before a request that changes the bucket, or at any moment."""
    _kill(trial, trial.bucket_home(), len(trial.world.bucket_steps), BUCKET_STEP)


@kind("cancel-folder")
def cancel_in_a_folder(trial: Trial) -> None:
    """SIGTERM at any moment."""
    _cancel(trial, trial.folder_home())


@kind("cancel-bucket")
def cancel_in_a_bucket(trial: Trial) -> None:
    """SIGTERM at any moment."""
    _cancel(trial, trial.bucket_home())


def _kill(trial: Trial, home: Home, steps: int, match: str) -> None:
    transfer = trial.random.choice(["keep", "stream"])
    for _ in range(trial.random.choice([1, 1, 2])):
        if trial.random.random() < 0.5:
            last = trial.random.choice([30, steps])  # the last ones replace the dataset
            kill = Kill(steps - trial.random.randrange(last), match)
            run = trial.begin(home, kill=kill, transfer=transfer)
        else:
            run = trial.begin(home, transfer=transfer)
            run.signal_after(trial.random.uniform(0, trial.world.seconds), signal.SIGKILL)
        assert trial.require_end(run, home) in {0, KILLED}
    another = home.beside(trial.folder / "another")
    trial.require_recovery(trial.random.choice([home, another]), transfer=transfer)


def _cancel(trial: Trial, home: Home) -> None:
    run = trial.begin(home)
    run.signal_after(trial.random.uniform(0, trial.world.seconds), signal.SIGTERM)
    trial.require_end(run, home)
    trial.require_recovery(home)
