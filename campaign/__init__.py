"""A fault campaign: runs that are disturbed in every way there is, each followed by one that must end right.

Each kind of fault is a function in `campaign.kinds`:

    @kind("kill-folder")
    def kill_in_a_folder(trial: Trial) -> None:
        home = trial.folder_home()
        trial.begin(home, kill=Kill(trial.random.randrange(1, 100))).end()
        trial.require_old_or_new(home)
        trial.require_recovery(home)

A kind that cannot run on this machine raises `Skipped` with the reason.
"""
