"""Tiles made of a stream that has not been read as far as it must be, to be sure that it was right.

Wrong bytes may show only at the end of a stream, in its md5. What a run made of one that failed, or that
a kill cut off, is therefore dropped by the next run, which reads the stream from its beginning anyway.
"""

import json
from collections.abc import Iterable
from shutil import rmtree

from bigearthnet.digests import replace_text
from bigearthnet.workspace import Workspace


def begin(keys: Iterable[str], workspace: Workspace) -> None:
    """Note the keys of the tiles that are going to be made of a stream."""
    replace_text(workspace.unverified, json.dumps(list(keys)))


def confirm(workspace: Workspace) -> None:
    """The stream was right, and so is what was made of it."""
    workspace.unverified.unlink()


def drop(workspace: Workspace) -> None:
    """Remove the tiles that were begun and never confirmed."""
    try:
        keys = json.loads(workspace.unverified.read_bytes())
    except FileNotFoundError:
        return
    for key in keys:
        rmtree(workspace.tile(key), ignore_errors=True)
    workspace.unverified.unlink()
