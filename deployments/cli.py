"""The command line: `bigearthnet --help`. Its options are the parameters of the flows."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from importlib.metadata import version
from inspect import cleandoc, signature
from typing import TYPE_CHECKING, Any, Final

from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError

from bigearthnet.errors import BigEarthNetError
from deployments import settings
from deployments.browse import browse
from deployments.serve import serve

if TYPE_CHECKING:
    from prefect import Flow, State

FLOWS: Final = {
    "prepare": "Convert BigEarthNet v2 to zips of RGB and mask PNGs.",
    "subset": "Copy chosen patches of a dataset to another place, as a dataset of their own.",
    "sync": "Prepare a dataset again, as it was made, if its record has changed or files are missing.",
    "check": "Try in seconds what prepare needs, without preparing anything.",
    "share": "Create presigned links to the files of a dataset in a bucket.",
    "fetch": "Copy a dataset, or some files or tiles of it, to a folder.",
    "mirror": "Copy the record's archives to a bucket, where prepare can read them.",
}
"""The commands that run a flow; the flow's docstring says more."""
EXAMPLES: Final = """
bigearthnet prepare ~/bigearthnet/dataset
bigearthnet prepare ~/trial --transfer stream --max-patches 1000
bigearthnet prepare s3://bucket/ben --countries Finland --countries Kosovo
bigearthnet prepare s3://bucket/ben --source s3://bucket/archives
bigearthnet prepare sample-dataset --source sample --work-dir sample-work
bigearthnet subset ~/bigearthnet/dataset ~/summer --months 6 --months 7
bigearthnet subset s3://bucket/ben ~/few --max-patches 500 --choose balanced
bigearthnet subset s3://bucket/ben ~/lakes --with-labels 'Inland waters'
bigearthnet sync ~/bigearthnet/dataset
bigearthnet sync s3://bucket/finland --aws-credentials bigearthnet
bigearthnet check s3://bucket/ben --transfer stream
bigearthnet share s3://bucket/finland
bigearthnet share s3://bucket/finland --files '*.zip' --expires-minutes 720
bigearthnet fetch s3://bucket/finland ~/finland
bigearthnet fetch s3://bucket/finland ~/finland --tiles '*_T35VLG'
bigearthnet mirror 10891137 s3://bucket/archives
bigearthnet browse ~/bigearthnet/dataset
bigearthnet serve --port 4201
PREFECT_API_URL=http://127.0.0.1:4200/api bigearthnet deploy
"""
_NEXT: Final = """
Next, the first 1,000 patches of the real dataset (400 MB to download; all 549,488 patches: 63 GB):
  make dataset DESTINATION=~/bigearthnet/trial OPTIONS="--transfer stream --max-patches 1000"
or Prefect's web UI, which also shows this run:
  make serve"""
_INTERRUPTED: Final = 130  # as the shell reports a program that Ctrl-C ended


def deploy(*, reset: bool = False) -> None:
    """Create or refresh the deployments on the server of PREFECT_API_URL.

    Args:
        reset: Set everything to what prefect.yaml says, also what was set in the UI.
    """
    settings.apply()
    if not os.environ.get("PREFECT_API_URL"):  # Prefect would start a server that ends with this process
        sys.exit("PREFECT_API_URL is not set. Set it to http://127.0.0.1:4200/api for `make serve`.")
    from deployments import registry  # noqa: PLC0415 - Prefect reads its settings when it is imported

    registry.deploy(reset=reset)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exit with 1 if it fails, with 130 if it is interrupted."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        _app(words[:1])(words, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        command = " ".join(("bigearthnet", *(error.command_chain or ())))
        sys.exit(f"{command}: {_plain(error)}\nSee {command} --help")
    except BigEarthNetError as error:  # before a flow has begun
        sys.exit(f"bigearthnet: {error}")
    except KeyboardInterrupt:
        print("Run the same command again to continue: finished work is kept.", file=sys.stderr)
        sys.exit(_INTERRUPTED)


def _app(chosen: Sequence[str]) -> App:
    """Return the application; only a chosen flow is imported, as Prefect takes a second."""
    app = App(
        name="bigearthnet",
        help="BigEarthNet v2 as RGB and mask PNGs.",
        help_epilogue="Start with: bigearthnet prepare sample-dataset --source sample",
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
        version=lambda: version("bigearthnet-prefect"),
        default_parameter=Parameter(negative=(), show_default=_shown),
    )
    for name, text in FLOWS.items():
        if name in chosen:
            advice = "Give an option several times for several values. "
            app.command(_command(name), name=name, help_epilogue=advice + _examples(name))
        else:
            app.command(lambda: None, name=name, help=text)
    app.command(browse, help_epilogue=_examples("browse"))
    app.command(serve, help_epilogue=_examples("serve"))
    app.command(deploy, help_epilogue=_examples("deploy"))
    return app


def _examples(command: str) -> str:
    lines = [f"  {line}" for line in EXAMPLES.splitlines() if f"bigearthnet {command}" in line]
    return "\n".join(["Examples:", *lines])


def _shown(default: object) -> str:
    """Return a default for the help."""
    return (" ".join(map(str, default)) if isinstance(default, tuple) else str(default)) or "empty"


def _command(name: str) -> Callable[..., None]:
    """Return a function with the parameters of a flow."""
    settings.apply()
    flow: Flow[..., Any] = getattr(import_module(f"flows.{name}"), name)

    @wraps(flow.fn)
    def run(*values: Any, **options: Any) -> None:
        _run(name, flow, signature(flow.fn).bind(*values, **options).arguments)

    # The help would break lines where the docstring does, and where the terminal's width ends.
    run.__doc__ = re.sub(r"(?<=\S)\n(?=\S)|\n {8}", " ", cleandoc(flow.fn.__doc__ or ""))
    return run


def _run(name: str, flow: "Flow[..., Any]", arguments: dict[str, Any]) -> None:
    """Run a flow, and print where its results are and what comes next."""
    from deployments.temporary_server import start_temporary_server  # noqa: PLC0415 - imports Prefect

    names_server = bool(os.environ.get("PREFECT_API_URL"))
    try:
        start_temporary_server()
        state: State[Any] = flow(**arguments, return_state=True)  # type: ignore[assignment]  # overloads
    except RuntimeError as error:  # of Prefect: errors of the flow are in its state
        advice = "Start the server that PREFECT_API_URL names, or unset it."
        if not names_server:
            advice = (
                "Check the free space and the rights to these files, or set PREFECT_HOME to another folder."
            )
        sys.exit(f"bigearthnet {name}: {error}\n{advice}")
    if not state.is_completed():
        sys.exit(f"bigearthnet {name} failed. Correct the cause, then run it again: finished work is kept.")
    if state.name != "Completed":  # nothing was to do
        print(state.message)
    elif name in ("prepare", "subset"):
        _say_where_it_is(state.result())
        if arguments.get("source") == "sample":
            print(_NEXT)


def _say_where_it_is(done: dict[str, Any]) -> None:
    from bigearthnet.dataset.layout import IMAGES_ZIP, MANIFEST, MASKS_ZIP, PAGE  # noqa: PLC0415 - imports numpy

    print(f"\n{done['patches']:,} patches are in")
    for file in (IMAGES_ZIP, MASKS_ZIP, MANIFEST, PAGE):
        print(f"  {done['destination']}/{file}")


def _plain(error: CycloptsError) -> str:
    """Return what is wrong with the arguments, without the words of pydantic."""
    from bigearthnet.options import explain  # noqa: PLC0415 - imports numpy, which takes half of the help's time

    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return str(error)
    option = getattr(getattr(error, "argument", None), "name", "")
    text = explain(cause)
    if option.startswith("--"):
        return f"{option}: {text}"
    return re.sub(r"^\w+(?=:)", lambda field: "--" + field[0].replace("_", "-"), text, flags=re.MULTILINE)


if __name__ == "__main__":
    main()
