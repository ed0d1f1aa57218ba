"""The choice of the data volume, with loop devices as the host's disks."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

PROVISION = Path(__file__).parents[2] / "deployments" / "ec2" / "provision.sh"
MIB = 1 << 20

BLANK = ":"
OURS = "mkfs.ext4 -q -L $label $disk"
FOREIGN = "mkfs.ext4 -q -L photos $disk"
POKE = "printf x | dd of=$disk bs=1 conv=notrunc seek="


def can_loop() -> bool:
    command = ["unshare", "--mount", "losetup", "--find"]
    return os.geteuid() == 0 and not subprocess.run(command, capture_output=True, check=False).returncode


pytestmark = pytest.mark.skipif(
    not can_loop() or not shutil.which("sfdisk"), reason="needs root, loop devices and sfdisk"
)


@contextmanager
def loop_device(image: Path, prepare: str, label: str) -> Iterator[str]:
    image.touch()
    os.truncate(image, 16 * MIB)
    command = ["losetup", "--find", "--show", "--partscan", str(image)]
    disk = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    try:
        environment = os.environ | {"disk": disk, "label": label}
        subprocess.run(["bash", "-c", prepare], env=environment, check=True, capture_output=True)
        yield disk
    finally:
        subprocess.run(["losetup", "--detach", disk], check=True)


class Host:
    """A host whose disks are loop devices; mounts end with each call."""

    def __init__(self, folder: Path, disks: list[str], label: str) -> None:
        self.disks = disks
        self.label = label
        self.data = folder / "data"
        self.fstab = folder / "fstab"
        self.fstab.write_text("LABEL=root / ext4 defaults 0 1\n")

    def ensure(self, before: str = "", after: str = "") -> str:
        """Run ensure_data_volume between commands of a test; returns its status and all output."""
        script = f"""
            source {PROVISION}
            DATA={self.data} FSTAB={self.fstab} LABEL={self.label}
            list_disks() {{ printf '%s\\n' {" ".join(self.disks)}; }}
            systemctl() {{ :; }}
            {before}
            ensure_data_volume
            findmnt -nro SOURCE $DATA || true
            {after}
        """
        done = subprocess.run(
            ["unshare", "--mount", "bash", "-c", script], capture_output=True, text=True, check=False
        )
        return f"{done.returncode} {done.stdout}{done.stderr}"


@pytest.fixture
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host with a disk for each of the parameter's commands, which prepare them."""
    label = uuid.uuid4().hex[:16]  # mount remembers where it saw a label
    with ExitStack() as stack:
        images = ((tmp_path / f"{number}.img", prepare) for number, prepare in enumerate(request.param))
        yield Host(tmp_path, [stack.enter_context(loop_device(*image, label)) for image in images], label)


@pytest.mark.parametrize("host", [[BLANK], [FOREIGN, BLANK], [BLANK, FOREIGN]], indirect=True)
def test_the_one_blank_disk_is_formatted_and_mounted_once(host: Host) -> None:
    output = host.ensure()
    (blank,) = [disk for disk in host.disks if f"formatting {disk}, which is blank" in output]
    probe = subprocess.run(
        ["blkid", "-p", "-o", "value", "-s", "LABEL", blank], capture_output=True, check=True
    )
    assert probe.stdout.decode().strip() == host.label
    (root, line) = host.fstab.read_text().splitlines()
    assert root == "LABEL=root / ext4 defaults 0 1"
    device, folder, kind, options, *order = line.split()
    assert (device, folder, kind, order) == (f"LABEL={host.label}", str(host.data), "ext4", ["0", "2"])
    assert "nofail" in options.split(","), "a host without its data volume must boot"
    assert host.ensure() == f"0 {blank}\n", "mounted from fstab"
    assert len(host.fstab.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("host", "contents"),
    [
        ([FOREIGN], "a signature (ext4)"),
        (["mkswap $disk"], "a signature (swap)"),
        (["echo 1MiB,4MiB | sfdisk $disk; partx --update $disk"], "partitions or volumes"),
        (["echo label: gpt | sfdisk $disk"], "a signature (gpt)"),
        (["echo label: gpt | sfdisk $disk; dd if=/dev/zero of=$disk bs=1M count=1"], "a signature (gpt)"),
        (["echo label: dos | sfdisk $disk"], "a signature (dos)"),
        *(([f"{POKE}{place}"], "data in its") for place in (0, MIB - 1, 15 * MIB, 16 * MIB - 1)),
    ],
    indirect=["host"],
)
def test_a_disk_with_contents_is_left_alone(host: Host, tmp_path: Path, contents: str) -> None:
    before = (tmp_path / "0.img").read_bytes()
    output = host.ensure()
    assert f"{host.disks[0]} is left alone: it has {contents}" in output
    assert "there is no data volume" in output
    assert output.startswith("0 ")
    assert (tmp_path / "0.img").read_bytes() == before
    assert str(host.data) not in host.fstab.read_text()


@pytest.mark.parametrize("host", [[BLANK]], indirect=True)
def test_a_mounted_disk_is_left_alone(host: Host) -> None:
    (disk,) = host.disks
    mounted = f"mkdir $DATA.other; mkfs.ext4 -q {disk}; mount {disk} $DATA.other"
    assert f"{disk} is left alone: it has something that is mounted" in host.ensure(mounted)


@pytest.mark.parametrize("host", [[OURS], [BLANK, OURS], [FOREIGN, OURS]], indirect=True)
def test_the_volume_of_an_earlier_host_is_mounted_and_not_formatted(host: Host) -> None:
    output = host.ensure()
    assert output.endswith(f"{host.disks[-1]} is mounted at {host.data}\n{host.disks[-1]}\n")
    assert "formatting" not in output
    assert output.count("is left alone") == len(host.disks) - 1


@pytest.mark.parametrize("host", [[BLANK, BLANK], [OURS, OURS], [OURS, BLANK, OURS]], indirect=True)
def test_of_two_candidates_none_is_chosen(host: Host) -> None:
    output = host.ensure()
    candidates = f"{host.disks[0]} {host.disks[-1]}"
    assert f"cannot choose a data volume from {candidates}. Detach all but one" in output
    assert (output[0], str(host.data) in host.fstab.read_text()) == ("1", False)


@pytest.mark.parametrize("host", [[BLANK]], indirect=True)
@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("mkdir $DATA; touch $DATA/x", "cannot mount {disks[0]} at {data}: the folder is not empty"),
        ("echo LABEL=x $DATA ext4 nofail >>$FSTAB", "cannot mount the volume that {fstab} names for {data}"),
    ],
)
def test_a_mount_hides_neither_files_nor_another_volume(
    host: Host, tmp_path: Path, before: str, message: str
) -> None:
    output = host.ensure(before)
    assert message.format(**vars(host)) in output
    assert (output[0], (tmp_path / "0.img").read_bytes()) == ("1", bytes(16 * MIB))


@pytest.mark.parametrize("host", [[BLANK]], indirect=True)
@pytest.mark.parametrize(("seconds", "sleeps", "found"), [(0, 0, False), (10, 2, False), (20, 3, True)])
def test_a_volume_that_is_being_attached_is_waited_for(
    host: Host, *, seconds: int, sleeps: int, found: bool
) -> None:
    output = host.ensure(
        f"""
        DATA_VOLUME_SECONDS={seconds} SECONDS=0 sleeps=0
        sleep() {{ ((SECONDS += $1, sleeps += 1)); }}
        list_disks() {{ ((sleeps < 3)) || echo {host.disks[0]}; }}
    """,
        "echo sleeps: $sleeps",
    )
    assert output.endswith(f"sleeps: {sleeps}\n")
    assert ("formatting" in output) is found


@pytest.mark.parametrize("host", [[]], indirect=True)
def test_only_writable_disks_besides_the_root_disk_are_considered(host: Host) -> None:
    disks = [
        f"/dev/{disk}"
        for disk in ("xvda disk 0 8", "xvdf disk 0 9", "xvdg disk 1 9", "zram0 disk 0 0", "sr0 rom 0 9")
    ]
    output = host.ensure(f"""
        lsblk() {{ case "$*" in -b*) printf '%s\\n' {" ".join(map(repr, disks))} ;; *xvda) echo / ;; esac; }}
        source {PROVISION.with_name("data_volume.sh")}
        list_disks
        exit
    """)
    assert output == "0 /dev/xvdf\n"
