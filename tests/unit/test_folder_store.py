"""What only a folder can do, and what its file system can refuse."""

import errno
import hashlib
import os
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest

from bigearthnet.errors import BigEarthNetError, ChangedError, SpaceError, StoreError
from bigearthnet.store import FolderStore, Range
from bigearthnet.store.disk import translate_os_errors

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def folder(store: FolderStore) -> Path:
    assert store.folder is not None
    return store.folder


def test_a_digest_is_noted_until_the_file_changes(store: FolderStore, folder: Path) -> None:
    file = store.write("x", b"one")
    assert store.digest(file) == hashlib.sha256(b"one").hexdigest()
    os.chmod(folder / "x", 0o200)  # noqa: PTH101 - not needed any more, and not readable unless by root
    assert store.digest(file) == hashlib.sha256(b"one").hexdigest()
    status = (folder / "x").stat()
    (folder / "x").write_bytes(b"two")
    os.utime(folder / "x", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    changed = store.head("x")
    assert changed is not None
    assert changed.size == file.size
    assert store.digest(changed) == hashlib.sha256(b"two").hexdigest()
    with pytest.raises(ChangedError):
        FolderStore(folder).digest(file)


def test_drafts_of_notes_that_killed_runs_left_are_removed(store: FolderStore, folder: Path) -> None:
    """Readers write notes without the lock: a draft of this moment may be one of theirs."""
    store.digest(store.write("x", b""))
    (note,) = (folder / ".staging/digests").iterdir()
    dead, alive = (note.with_name(f".{note.name}.{one}.new") for one in ("dead", "alive"))
    for draft in (dead, alive):
        draft.touch()
    os.utime(dead, (0, note.stat().st_mtime - 3601))
    with store.lock("next"):
        assert {note, alive} == set(note.parent.iterdir())


def test_an_upload_links_and_a_leftover_link_is_not_written_into(
    store: FolderStore, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "tile.zip").write_bytes(b"of the work folder")
    store.upload(tmp_path / "tile.zip", "tile.zip")
    store.upload(tmp_path / "tile.zip", "tile.zip")
    assert (folder / "tile.zip").samefile(tmp_path / "tile.zip")
    assert list((folder / ".staging").iterdir()) == []
    os.link(tmp_path / "tile.zip", folder / ".staging/x.new")  # as a killed upload leaves it
    store.write("x", b"short")
    assert (tmp_path / "tile.zip").read_bytes() == b"of the work folder"


@pytest.mark.parametrize("there", [True, False])
def test_a_run_that_fails_leaves_no_new_folder(store: FolderStore, folder: Path, *, there: bool) -> None:
    if there:
        folder.mkdir()
    with pytest.raises(ZeroDivisionError), store.lock("run"):
        raise ZeroDivisionError
    assert folder.exists() is there
    with store.lock("run"):
        store.resume("x", 2, "v").append([memoryview(b"1")])
    assert store.resume("x", 2, "v").position == 1, "what was begun stays"


@pytest.mark.parametrize("name", [".lock", ".bigearthnet"])
@pytest.mark.parametrize("there", [True, False])
def test_links_of_another_user_lead_to_no_file(
    store: FolderStore, folder: Path, tmp_path: Path, name: str, *, there: bool
) -> None:
    mine = tmp_path / "mine"
    if there:
        mine.write_text("important")
    folder.mkdir()
    (folder / name).symlink_to(mine)
    with suppress(StoreError), store.lock("run"):
        pass
    assert (mine.read_text() == "important") if there else not mine.exists()


def test_a_beginning_that_is_too_long_is_dropped(store: FolderStore, folder: Path) -> None:
    for name in ("x", "x.y"):
        store.resume(name, 3, "m").append([memoryview(b"123")])
    (path,) = folder.glob(".staging/x.[!y]*.part")
    with path.open("ab") as part:
        part.write(b"4")
    assert store.resume("x", 3, "m").position == 0
    assert store.resume("x.y", 3, "m").position == 3


def test_files_in_subfolders_are_staged_apart(store: FolderStore) -> None:
    x = store.write("x", b"12")
    with (
        store.stage("a/b", [Range(x, 0, 1)], "") as one,
        store.stage("a%2Fb", [Range(x, 1, 2)], "") as two,
    ):
        one.commit()
        two.commit()
    assert (store.read("a/b"), store.read("a%2Fb")) == (b"1", b"2")


def test_a_file_that_changes_under_the_reader_is_noticed(store: FolderStore, folder: Path) -> None:
    file = store.write("x", b"0123456789")
    with store.open(file) as reader:
        assert reader.read(4) == b"0123"
        with (folder / "x").open("r+b") as other:
            other.write(b"9")
        os.utime(folder / "x", ns=(0, 0))
        with pytest.raises(ChangedError, match=r"x: it was changed or removed meanwhile\. Run again\."):
            reader.read(4)


def test_the_system_may_keep_its_own_in_an_empty_folder(store: FolderStore, folder: Path) -> None:
    (folder / "lost+found").mkdir(parents=True)
    (folder / "lost+found/#1").write_bytes(b"of the system")
    store.write("x", b"ours")
    assert [file.name for file in store.list()] == ["x"]


@pytest.mark.parametrize(
    ("name", "reason"), [("sub", "there is a folder of that name"), ("sub/x/y", "a file or a broken link of")]
)
def test_everything_that_a_commit_needs_is_tried_before(store: FolderStore, name: str, reason: str) -> None:
    store.write("sub/x", b"")
    stage = store.stage(name, [], "0" * 64)
    for call in (stage.__enter__, lambda: store.resume(name, 1, "m")):
        with pytest.raises(StoreError, match=f"cannot write .*{name}: {reason}"):
            call()


PROLOGUE = """
from pathlib import Path
import os
from bigearthnet.errors import StoreError, SpaceError
from bigearthnet.store import FolderStore
folder = Path(os.environ["FOLDER"])
"""


def run_on_tiny_disk(folder: Path, options: str, program: str) -> list[str]:
    """Run a program with an empty file system at `folder`, which only it sees; returns what it prints."""
    folder.mkdir()
    script = f'mount -t tmpfs -o {options} tmpfs {folder} && exec {sys.executable} -c "$PROGRAM"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    variables = {**os.environ, "FOLDER": str(folder), "PROGRAM": PROLOGUE + textwrap.dedent(program)}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_full_disk_is_said_in_plain_words(tmp_path: Path) -> None:
    program = """
        store = FolderStore(folder)
        store.write("card", b"old")
        source = folder.parent / "source"
        source.write_bytes(bytes(2 << 20))
        def resume():
            store.resume("resume", 2 << 20, "m").append([memoryview(bytes(2 << 20))])
        for call in (
            lambda: store.write("write", bytes(2 << 20)),
            lambda: store.upload(source, "upload"),
            lambda: store.stage("stage", [source, source], "0" * 64).__enter__(),
            resume,
        ):
            try:
                call()
            except SpaceError as error:
                print(error)
            assert store.read("card") == b"old"
            print(*(path.suffix for path in (folder / ".staging").iterdir()))
    """
    lines = run_on_tiny_disk(tmp_path / "disk", "size=1m", program)
    for name, message in zip(["write", "upload", "stage", "resume"], lines[::2], strict=True):
        assert f"/{name}" in message
        assert message.endswith(": the disk is full. Free some space on it, then run again.")
    assert lines[1::2] == ["", "", "", ".part"]


def test_a_disk_without_inodes_is_said_in_plain_words(tmp_path: Path) -> None:
    program = """
        try:
            for number in range(99):
                FolderStore(folder).write(str(number), b"")
        except SpaceError as error:
            print(error)
    """
    message, *_ = run_on_tiny_disk(tmp_path / "disk", "size=1m,nr_inodes=20", program)
    assert ": the file system has no inodes left. Remove some of its many files, then run again." in message


def test_a_folder_on_another_disk_is_found_before_anything_is_copied(tmp_path: Path) -> None:
    program = """
        store = FolderStore(folder.parent)
        for call in (store.stage("disk/x", [], "0" * 64).__enter__, lambda: store.resume("disk/x", 1, "m")):
            try:
                call()
            except StoreError as error:
                print(error)
    """
    (tmp_path / ".bigearthnet").touch()
    lines = run_on_tiny_disk(tmp_path / "disk", "size=1m", program)
    assert [": its folder is on another disk. Choose a folder that" in line for line in lines] == [True] * 2


def test_a_disk_that_becomes_read_only_is_said_in_plain_words(tmp_path: Path) -> None:
    program = """
        import subprocess
        store = FolderStore(folder)
        try:
            with store.stage("x", [], "0" * 64) as staged:
                subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
                staged.commit()
        except StoreError as error:
            print(error)
    """
    (message,) = run_on_tiny_disk(tmp_path / "disk", "size=1m", program)
    assert message.endswith("/x: the file system is read-only. Choose another path.")


@pytest.mark.parametrize(
    ("number", "kind", "reason"),
    [
        (errno.EDQUOT, SpaceError, "the disk quota of this user is used up. Free some of it, then run"),
        (errno.ENOLCK, StoreError, "its file system does not support locks. Choose a folder on a local"),
        (errno.EACCES, StoreError, "permission denied. Give this user the right to it, or choose another"),
        (errno.EFBIG, StoreError, "the file system or a limit (ulimit -f) does not allow so large a file."),
        (errno.EIO, StoreError, "Input/output error. Check the disk and the path."),
    ],
)
def test_the_systems_errors_say_what_to_do(number: int, kind: type[BigEarthNetError], reason: str) -> None:
    with pytest.raises(kind) as caught, translate_os_errors("lock", Path("/data")):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"cannot lock /data: {reason}")


def test_paths_that_cannot_be_used_are_no_tracebacks(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "loop", tmp_path / "loop/x", tmp_path / "file", tmp_path / "file/x"):
        with pytest.raises(StoreError, match=r"cannot write .*(link|circle|file).*another path"):
            FolderStore(root).write("x", b"")
        with pytest.raises(StoreError, match="cannot lock"):
            FolderStore(root).lock("run").__enter__()
    with pytest.raises(StoreError, match="NUL"):
        FolderStore(Path("/data\0x"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    program = """
        os.setuid(65534)
        store, theirs = FolderStore(folder / "store"), FolderStore(folder / "theirs")
        for call in (
            lambda: store.lock("run").__enter__(),
            lambda: store.write("x", b""),
            lambda: theirs.stage("ours/x", [], "").__enter__(),
        ):
            try:
                call()
            except StoreError as error:
                print(error)
    """
    FolderStore(tmp_path / "store").write("x", b"ours")
    FolderStore(tmp_path / "theirs").write("ours/x", b"")
    for path in (tmp_path / "theirs", tmp_path / "theirs/.staging"):
        os.chown(path, 65534, 65534)
    for path in (tmp_path, *tmp_path.parents[:-2]):
        path.chmod(0o755)
    command = [sys.executable, "-c", PROLOGUE + textwrap.dedent(program)]
    variables = {"FOLDER": str(tmp_path)}
    out = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True).stdout
    assert out.count("permission denied. Give this user the right to it, or choose another path.") == 3
