"""Runs that are killed by SIGKILL."""

from campaign.registry import kind
from campaign.trial import Trial
from tests.support.zygote import KILLED, Kill


@kind("kill-folder", weight=6)
def kill_in_a_folder(trial: Trial) -> None:
    """Before a change to a file or folder."""
    home = trial.folder_home()
    at = trial.random.randrange(1, len(trial.world.steps) - 5)
    assert trial.begin(home, kill=Kill(at)).end() == KILLED
    trial.require_old_or_new(home)
    trial.require_recovery(home)
