import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bigearthnet.errors import BusyError, DestinationError
from bigearthnet.store.lock import LOCK_FILE, hold


@contextmanager
def holder(folder: Path, run: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the folder until a line comes, or it is killed."""
    program = f"""
        import sys
        from pathlib import Path
        from bigearthnet.store.lock import hold
        with hold(Path({str(folder)!r}), "work folder", {run!r}):
            print("held", flush=True)
            sys.stdin.readline()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    with holder(tmp_path, "busy-bee") as process:
        with pytest.raises(BusyError) as caught, hold(tmp_path, "destination", "second"):
            pass
        assert str(caught.value) == (
            f"expected the destination {tmp_path} to be free, found it held by run busy-bee "
            f"(process {process.pid} on {socket.gethostname()}); "
            "wait until that run has ended, or cancel it, then run again"
        )
        assert process.poll() is None
        process.communicate(b"\n")
        assert process.returncode == 0
    with hold(tmp_path, "destination", "second"):
        pass


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    with holder(tmp_path, "killed") as process:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert b"killed" in (tmp_path / LOCK_FILE).read_bytes()  # what it wrote is left, and does no harm
    with hold(tmp_path, "work folder", "next"):
        held = pytest.raises(BusyError, match=rf"held by run next \(process {os.getpid()} on")
        with held, hold(tmp_path, "work folder", "third"):
            pass
        assert b"killed" not in (tmp_path / LOCK_FILE).read_bytes()


def test_a_folder_is_free_after_a_failure(tmp_path: Path) -> None:
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), hold(tmp_path, "work folder", "one"):
            raise error
    with hold(tmp_path, "work folder", "two"):
        pass


def test_two_folders_are_held_apart(tmp_path: Path) -> None:
    with (
        hold(tmp_path / "one", "work folder", "run"),
        hold(tmp_path / "other" / "deep", "destination", "run"),
    ):
        assert (tmp_path / "other" / "deep").is_dir()  # made if need be


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"run": "x"}', b"\xff\xfe", b"null"])
def test_a_holder_that_has_written_nothing_is_another_run(tmp_path: Path, text: bytes) -> None:
    with hold(tmp_path, "work folder", "one"):
        (tmp_path / LOCK_FILE).write_bytes(text)
        held = pytest.raises(BusyError, match=r"to be free, found it held by another run; wait")
        with held, hold(tmp_path, "work folder", "two"):
            pass


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = (
        rf"^expected to be able to write the destination {tmp_path}/file, found: File exists; choose another"
    )
    with pytest.raises(DestinationError, match=message), hold(tmp_path / "file", "destination", "run"):
        pass
    with (
        pytest.raises(DestinationError, match="found: Not a directory"),
        hold(tmp_path / "file" / "x", "x", "run"),
    ):
        pass


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).mkdir()
    message = r"found: Is a directory; .* right to write there"
    with pytest.raises(DestinationError, match=message), hold(tmp_path, "work folder", "run"):
        pass
