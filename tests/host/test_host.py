"""The whole house on a machine as small as a t2.micro, from nothing to its removal.

T2MICRO names the program that makes the machine: `up [--fresh] [--user-data FILE]`, `ssh [COMMAND]`, `down`,
`kill`. The tests are one story, told in the order of the file. On an emulated machine it takes half an hour;
one in user mode, whose every page of memory is a mapping out here, needs `sysctl vm.max_map_count=1048576`.
"""

import io
import json
import os
import re
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from tests.support.machine import SERVICES, TOOL, Machine, repository, stack_user_data
from tests.support.served import ROOT, eventually

pytestmark = [
    pytest.mark.host,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not TOOL, reason="T2MICRO names no program that makes the machine"),
]

PROVISION = "cd clone && sudo deployments/ec2/provision.sh"
DATASET = "/data/bigearthnet/sample/dataset"
MIB = 1 << 20


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of this checkout's repository."""
    with repository(tmp_path_factory.mktemp("repository")) as url:
        yield url


@pytest.fixture(scope="module")
def machine(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that was provisioned from nothing, by provision.sh as its user data."""
    script = (ROOT / "deployments" / "ec2" / "provision.sh").read_text()
    user_data = tmp_path_factory.mktemp("host") / "user-data"
    machine = Machine()
    first, rest = script.split("\n", 1)
    user_data.write_text(f"{first}\nexport REPOSITORY={url} AWS_DEFAULT_REGION=eu-central-1\n{rest}")
    try:
        machine.boot("--fresh", "--user-data", str(user_data))
        machine.ssh(f"git clone -q {url} clone")
        yield machine
    finally:
        machine.close_tunnel()
        machine.tool("down", check=False)


def test_everything_is_up_after_the_first_boot(machine: Machine) -> None:
    output = machine.ssh("sudo cat /var/log/cloud-init-output.log")
    assert "provision: server and worker are up" in output, output
    assert machine.ssh(f"systemctl is-active {' '.join(SERVICES)}").split() == ["active"] * 2
    assert machine.ssh(f"systemctl is-enabled {' '.join(SERVICES)}").split() == ["enabled"] * 2
    machine.wait_for_worker()


def test_the_data_volume_is_mounted_by_its_uuid_and_the_user_s(machine: Machine) -> None:
    kind, label, uuid, mount = machine.ssh("findmnt -nro FSTYPE,LABEL,UUID,TARGET /data").split()
    assert (kind, label, mount) == ("ext4", "bigearthnet", "/data")
    (line,) = re.findall(r"^(\S+) /data (.*)$", machine.ssh("cat /etc/fstab"), re.MULTILINE)
    assert line[0] == f"UUID={uuid}"
    assert "nofail" in line[1]
    assert machine.ssh("stat -c %U /data") == "bigearthnet"


def test_there_is_swap_and_the_secret_is_root_s_alone(machine: Machine) -> None:
    assert machine.ssh("sudo swapon --show=SIZE --bytes --noheadings") in {
        str(1024 * MIB - 4096),
        str(1024 * MIB),
    }
    assert machine.ssh("sudo stat -c '%a %U' /etc/bigearthnet/secret") == "600 root"
    secret = machine.secret().split(":")[1]
    assert len(secret) >= 32
    assert secret not in machine.ssh("sudo journalctl --no-pager; sudo cat /var/log/cloud-init-output.log")


def test_nothing_runs_as_root_and_only_the_loopback_is_listened_on(machine: Machine) -> None:
    owners = machine.ssh("ps -eo user:20,cmd | grep /opt/bigearthnet/.venv | grep -v grep").splitlines()
    assert len(owners) == 2
    assert {line.split()[0] for line in owners} == {"bigearthnet"}
    listening = [line.split()[3] for line in machine.ssh("sudo ss -Hltnp | grep python").splitlines()]
    assert "127.0.0.1:4200" in listening
    assert {address.rsplit(":", 1)[0] for address in listening} == {"127.0.0.1"}


def test_the_ui_answers_and_its_api_only_to_those_who_know_the_secret(machine: Machine) -> None:
    assert machine.request("GET", "/").status == 200
    assert machine.request("GET", "/api/admin/version").status == 401
    headers = urllib3.make_headers(basic_auth="bigearthnet:guess")
    assert machine.request("GET", "/api/admin/version", **headers).status == 401
    headers = urllib3.make_headers(basic_auth=machine.secret())
    assert machine.request("GET", "/api/admin/version", **headers).status == 200
    refused = machine.request(
        "POST", "/api/flows/filter", {}, **headers
    )  # as a page of another site would ask
    assert (refused.status, b"CSRF" in refused.data) == (403, True)


def test_a_run_ends_well_within_the_memory_that_there_is(machine: Machine) -> None:
    sampler = subprocess.Popen(
        [TOOL, "ssh", "while sleep 0.3; do ps -u bigearthnet -o pid=,rss=,args= ; done"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        run = machine.start_sample()
        state = machine.ended(run)
    finally:
        os.killpg(sampler.pid, 15)
    assert sampler.stdout is not None
    peaks: dict[str, int] = {}
    for line in sampler.stdout.read().splitlines():
        if match := re.match(
            r"\s*\d+\s+(\d+) .*-m (prefect server|deployments\.worker|prefect\.engine)", line
        ):
            peaks[match[2]] = max(peaks.get(match[2], 0), int(match[1]) * 1024)
    told = {name: f"{peak / MIB:.0f} MiB" for name, peak in peaks.items()}
    sys.stdout.write(f"peak resident memory: {told}\n{machine.ssh('free -m; df -h / /data')}\n")
    assert state["type"] == "COMPLETED", (state, machine.logs(run))
    assert "CPU credits of a t2.micro" in machine.logs(run)
    assert peaks.keys() == {"prefect server", "deployments.worker", "prefect.engine"}
    assert sum(peaks.values()) < 700 * MIB, told
    assert peaks["prefect.engine"] < 300 * MIB, told


def test_the_dataset_is_whole_and_can_be_fetched(machine: Machine) -> None:
    fetched = subprocess.run(
        [TOOL, "ssh", f"cat {DATASET}/bigearthnet_pngs.zip"], capture_output=True, check=True
    )
    with zipfile.ZipFile(io.BytesIO(fetched.stdout)) as images:
        assert images.testzip() is None
        card = json.loads(machine.ssh(f"cat {DATASET}/dataset.json"))
        assert len(images.namelist()) == card["counts"]["patches"] > 0


def test_provisioning_again_changes_nothing(machine: Machine) -> None:
    places = "/etc/fstab /etc/bigearthnet /etc/systemd/system /opt/bigearthnet"
    files = f"sudo find {places} -type f -printf '%p %T@ %m\\n' | sort"
    before, since = machine.ssh(files), machine.since()
    assert "everything is up to date" in machine.ssh(PROVISION)
    assert (machine.ssh(files), machine.since()) == (before, since)


def test_an_update_is_refused_while_a_run_is_at_work_and_done_after_it(machine: Machine) -> None:
    machine.ssh("echo '# an update' >> clone/flows/__init__.py")
    run = machine.stop_the_next_run()
    since = machine.since()
    assert f"expected no flow run at work while the code is changed, found {run}" in machine.refuses(
        PROVISION
    )
    assert machine.since() == since
    machine.let_it_go_on()
    assert machine.ended(run)["type"] == "COMPLETED"
    eventually(
        lambda: not machine.ssh("pgrep -u bigearthnet -f prefect.engine || true"), "end of the process"
    )
    secret = machine.secret()
    assert "server and worker are up" in machine.ssh(PROVISION)
    assert machine.ssh("tail -n 1 /opt/bigearthnet/flows/__init__.py") == "# an update"
    assert machine.secret() == secret
    assert machine.state(run)["type"] == "COMPLETED"


def test_an_update_waits_for_the_end_of_a_run_if_told_to(machine: Machine, url: str) -> None:
    run = machine.stop_the_next_run()
    update = f"sudo REPOSITORY={url} RUNNING=wait /opt/bigearthnet/deployments/ec2/provision.sh"
    with machine.saying(update, f"waiting for the end of flow run {run}") as updating:
        machine.let_it_go_on()
        assert machine.ended(run)["type"] == "COMPLETED"
        said, _ = updating.communicate(timeout=1800)
        assert (updating.returncode, "server and worker are up" in said) == (0, True), said
    assert machine.ssh("tail -n 1 /opt/bigearthnet/flows/__init__.py") != "# an update"
    assert machine.state(run)["type"] == "COMPLETED"


def test_a_run_out_of_bounds_is_ended_and_nothing_else_is(machine: Machine) -> None:
    machine.wait_for_worker()
    since = machine.since()
    run = machine.start_greedy(mib=2048)
    assert machine.ended(run)["type"] == "CRASHED"
    assert machine.since() == since, "server or worker was ended"
    told = machine.ssh("sudo journalctl -k -b --no-pager")
    assert "UML ran out of memory on the host side" not in told, "sysctl vm.max_map_count=1048576, out here"
    assert told.count("Memory cgroup out of memory: Killed process") == 1, told
    assert machine.ended(machine.start_sample())["type"] == "COMPLETED"


def test_without_its_data_volume_the_host_boots_and_no_run_fills_the_root_disk(machine: Machine) -> None:
    right = machine.ssh("findmnt -nro UUID /data")
    machine.ssh(f"sudo sed -i 's/{right}/{uuid.uuid4()}/' /etc/fstab")
    machine.close_tunnel()
    machine.tool("down")
    machine.boot()
    assert machine.ssh("findmnt -n /data || true") == ""
    assert machine.ssh(f"systemctl is-active {' '.join(SERVICES)} || true").split() == ["active", "inactive"]
    assert machine.ssh("find /data -mindepth 1") == ""
    machine.ssh(
        f"sudo sed -i 's#^UUID=[^ ]* /data #UUID={right} /data #' /etc/fstab; sudo systemctl daemon-reload; "
        "sudo systemctl start bigearthnet-worker"
    )
    machine.wait_for_worker()
    assert machine.ssh("findmnt -nro UUID /data") == right


def test_all_is_back_after_a_reboot(machine: Machine) -> None:
    machine.close_tunnel()
    machine.tool("down")
    machine.boot()
    machine.wait_for_worker()
    assert machine.ssh("findmnt -nro LABEL /data") == "bigearthnet"
    assert machine.ssh("sudo swapon --show=NAME --noheadings") == "/swapfile"
    assert machine.ended(machine.start_sample())["type"] == "COMPLETED"


def test_a_run_is_told_crashed_after_a_power_cut_and_the_next_one_goes_on(machine: Machine) -> None:
    run = machine.stop_the_next_run()
    machine.ssh("sync")
    machine.close_tunnel()
    machine.tool("kill")
    machine.boot()
    machine.wait_for_worker()
    assert machine.ended(run)["type"] == "CRASHED"
    again = machine.start_sample()
    assert machine.ended(again)["type"] == "COMPLETED"
    (patches, made) = re.findall(r"([\d,]+) of the .* ([\d,]+) made in this run", machine.logs(again))[0]
    assert 0 < int(made.replace(",", "")) < int(patches.replace(",", "")), "nothing was found again"


def test_removal_leaves_the_data(machine: Machine) -> None:
    card = machine.ssh(f"sha256sum {DATASET}/dataset.json")
    said = machine.ssh("sudo clone/deployments/ec2/uninstall.sh")
    assert "Left as they are" in said
    assert machine.ssh(f"sha256sum {DATASET}/dataset.json") == card
    assert machine.ssh("findmnt -nro LABEL /data") == "bigearthnet"
    assert machine.ssh("ls /etc/systemd/system /opt | grep -c '^bigearthnet' || true") == "0"
    machine.refuses("id bigearthnet")


def test_the_stack_s_user_data_takes_up_what_removal_left(machine: Machine, url: str, tmp_path: Path) -> None:
    volume, card = machine.ssh(f"findmnt -nro UUID /data; sha256sum {DATASET}/dataset.json").splitlines()
    user_data = tmp_path / "user-data"
    user_data.write_text(stack_user_data(url))
    machine.ssh("sudo cloud-init clean")  # as on an instance that was never booted
    machine.close_tunnel()
    machine.tool("down")
    machine.boot("--user-data", str(user_data))
    machine.wait_for_worker()
    assert machine.ssh("sudo cat /etc/bigearthnet/local").endswith("AWS_DEFAULT_REGION=eu-central-1")
    assert machine.ssh("findmnt -nro UUID /data") == volume
    assert machine.ssh(f"sha256sum {DATASET}/dataset.json") == card
    run = machine.start_sample()
    assert machine.ended(run)["type"] == "COMPLETED"
    assert "nothing written" in machine.logs(run)


def test_a_disk_that_holds_something_else_is_not_formatted(machine: Machine) -> None:
    disk = machine.ssh("findmnt -nro SOURCE /data")
    machine.ssh(
        "sudo systemctl stop bigearthnet-worker; sudo umount /data; "
        "sudo sed -i '\\# /data #d' /etc/fstab; sudo systemctl daemon-reload; "
        f"sudo mkfs.ext4 -q -F -L photos {disk}; sudo mount {disk} /mnt; echo dear | sudo tee /mnt/photo; "
        "sudo umount /mnt; sudo udevadm settle"
    )
    assert f"{disk} is left alone: it holds ext4 photos" in machine.ssh(PROVISION)
    machine.ssh(f"sudo mount {disk} /mnt")
    assert machine.ssh("cat /mnt/photo") == "dear"
    machine.wait_for_worker()
    assert machine.ended(machine.start_sample())["type"] == "COMPLETED", "without a data volume"
