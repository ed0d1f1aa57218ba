"""The host on a virtual machine as small as a t2.micro, from first boot to removal.

T2MICRO names the program that runs the machine: `up [--fresh] [--user-data FILE] [--disk KIND]`,
`ssh [COMMAND]`, `push SOURCE TARGET`, `down`, `kill`. The tests build on each other, in the order of the
file. Without hardware virtualization they take about half an hour, and user-mode Linux needs
`sysctl vm.max_map_count=1048576`.
"""

import os
import re
import socket
import sys
from collections.abc import Iterator

import pytest
import urllib3

from tests.support.machine import GATEWAY, PROVISION, SERVICES, TOOL, Machine, repository
from tests.support.served import ROOT, eventually
from tests.unit.test_stack_host import create_host

pytestmark = [
    pytest.mark.host,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not TOOL, reason="T2MICRO names no program that runs a machine"),
]

DATASET = "/data/bigearthnet/sample/dataset"
RUN = "pgrep -u bigearthnet -f prefect.engine || true"
MIB = 1 << 20


@pytest.mark.parametrize(("kind", "disk"), [("nvme", "/dev/nvme1n1"), ("virtio", "/dev/vda")])
def test_only_a_blank_disk_is_formatted_whatever_its_name(
    monkeypatch: pytest.MonkeyPatch, kind: str, disk: str
) -> None:
    if "T2MICRO_ENGINE" not in os.environ:  # the default may be user-mode Linux, which has neither disk
        monkeypatch.setenv("T2MICRO_ENGINE", "tcg")
    machine = Machine()
    ensure = "sudo bash -c 'source ec2/provision.sh; ensure_data_volume'"
    try:
        machine.boot("--fresh", "--disk", kind)
        machine.tool("push", str(ROOT / "deployments" / "ec2"), "ec2")
        machine.ssh(
            f"sudo mkfs.ext4 -q -L photos {disk}; sudo mount {disk} /mnt; echo dear | sudo tee /mnt/photo"
        )
        assert f"{disk} is left alone: it has something that is mounted" in machine.ssh(ensure)
        machine.ssh("sudo umount /mnt")
        assert f"{disk} is left alone: it has a signature (ext4)" in machine.ssh(ensure)
        assert machine.ssh(f"sudo mount {disk} /mnt; cat /mnt/photo; sudo umount /mnt") == "dear"
        assert machine.ssh("findmnt /data || grep /data /etc/fstab || true") == ""
        machine.ssh(
            f"sudo wipefs -qa {disk}; sudo dd if=/dev/zero of={disk} bs=1M count=1; sudo udevadm settle"
        )
        assert f"formatting {disk}, which is blank" in machine.ssh(ensure)
        assert machine.ssh("findmnt -nro FSTYPE,LABEL,SOURCE /data") == f"ext4 bigearthnet {disk}"
    finally:
        machine.end("down")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that was booted with the stack's user data."""
    folder = tmp_path_factory.mktemp("repository")
    machine = Machine()
    with repository(folder) as url:
        (folder / "user-data").write_text(create_host(DataVolumeGiB="8", Repository=url).user_data)
        try:
            machine.boot("--fresh", "--user-data", str(folder / "user-data"))
            yield machine
        finally:
            machine.end("down")


def test_the_first_boot_starts_everything(machine: Machine) -> None:
    output = machine.ssh("sudo cat /var/log/cloud-init-output.log")
    assert "provision: server and worker are running" in output, output
    assert machine.ssh(f"systemctl is-active {SERVICES}; systemctl is-enabled {SERVICES}").split() == [
        *["active"] * 2,
        *["enabled"] * 2,
    ]
    machine.wait_for_worker()
    assert machine.ssh("findmnt -nro FSTYPE,LABEL /data; stat -c %U /data").split() == [
        *["ext4", "bigearthnet"],
        "bigearthnet",
    ]
    assert int(machine.ssh("sudo swapon --show=SIZE --bytes --noheadings")) > 1023 * MIB
    assert machine.ssh("sudo tail -n 1 /etc/bigearthnet/local") == "AWS_DEFAULT_REGION=eu-central-1"


def test_the_secret_is_known_to_root_only(machine: Machine) -> None:
    assert machine.ssh("sudo stat -c '%a %U' /etc/bigearthnet/secret") == "600 root"
    secret = machine.login.split(":")[1]
    assert len(secret) >= 32
    assert secret not in machine.ssh("sudo journalctl --no-pager; sudo cat /var/log/cloud-init-output.log")
    assert urllib3.request("GET", machine.url).status == 200
    assert urllib3.request("GET", f"{machine.url}/api/admin/version").status == 401


def test_nothing_runs_as_root_or_listens_beyond_the_loopback(machine: Machine) -> None:
    owners = machine.ssh("ps -eo user:20,cmd | grep /opt/bigearthnet/.venv | grep -v grep").splitlines()
    assert sorted(line.split()[0] for line in owners) == ["bigearthnet", "bigearthnet-server"]
    listening = [
        line.split()[3] for line in machine.ssh("sudo ss -Hltnp | grep -E 'python|prefect'").splitlines()
    ]
    assert "127.0.0.1:4200" in listening
    assert {address.rsplit(":", 1)[0] for address in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "path", ["/var/lib/bigearthnet/prefect/prefect.db", "/etc/bigearthnet/secret", "/proc/$server/environ"]
)
def test_the_user_of_the_runs_cannot_read_what_the_server_keeps(machine: Machine, path: str) -> None:
    server = "server=$(systemctl show -P MainPID bigearthnet-server)"
    machine.ssh(f"{server}; sudo head -c 1 {path}")
    assert "Permission denied" in machine.fail(f"{server}; sudo -u bigearthnet head -c 1 {path}")


def test_a_run_uses_no_folder_outside_of_the_data_volume(machine: Machine) -> None:
    flow = machine.deployments()["prepare/prepare-sample"]["id"]
    run = machine.start(flow, destination="/var/lib/dataset")
    assert machine.final_state(run) == "FAILED"
    assert any("BIGEARTHNET_ROOTS allows only what is below /data" in line for line in machine.logs(run))


def test_a_run_stays_within_the_memory_limits(machine: Machine) -> None:
    machine.start_unit(
        "sampler", "while sleep 0.3; do ps -u bigearthnet,bigearthnet-server -o rss=,args=; done"
    )
    run = machine.start_sample()
    state = machine.final_state(run)
    machine.ssh("sudo systemctl stop sampler")
    peaks: dict[str, int] = {}
    for rss, name in re.findall(
        r"(\d+) .*(prefect server|prefect worker|prefect\.engine)", machine.output("sampler")
    ):
        peaks[name] = max(peaks.get(name, 0), int(rss) // 1024)
    sys.stdout.write(f"peak resident memory in MiB: {peaks}\n{machine.ssh('free -m; df -h / /data')}\n")
    assert (state, len(peaks)) == ("COMPLETED", 3), machine.logs(run)
    assert sum(peaks.values()) < 700, peaks
    assert peaks["prefect.engine"] < 300, peaks


def test_provisioning_again_changes_nothing(machine: Machine) -> None:
    folders = "/etc/fstab /etc/bigearthnet /etc/systemd/system /opt/bigearthnet"
    files = f"sudo find {folders} -type f -printf '%p %T@ %m\\n' | sort"
    before, started = machine.ssh(files), machine.started()
    assert "everything is up to date" in machine.ssh(f"sudo {PROVISION}")
    assert (machine.ssh(files), machine.started()) == (before, started)


def test_an_update_is_refused_during_a_run_or_waits_for_its_end(machine: Machine) -> None:
    source = PROVISION.replace("deployments/ec2/provision.sh", "flows/__init__.py")
    machine.ssh(f"echo '# an update' | sudo tee -a {source}")
    started, secret = machine.started(), machine.login
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it answers nothing: the run waits
        record = f"http://{GATEWAY}:{silent.getsockname()[1]}/api/records/1"
        run = machine.start(machine.deployments()["prepare/prepare-sample"]["id"], source=record)
        eventually(lambda: machine.run(run)["state_type"] == "RUNNING", "run", 600)
        assert f"cannot update: flow run {run} is running" in machine.fail(f"sudo {PROVISION}")
        assert machine.started() == started
        machine.start_unit("update", f"RUNNING=wait {PROVISION}")
        eventually(
            lambda: f"waiting for the end of flow run {run}" in machine.output("update"), "update", 600
        )
        machine.cancel(run)
        assert machine.final_state(run) == "CANCELLED"
    eventually(lambda: "server and worker are running" in machine.output("update"), "end of the update", 1800)
    assert machine.ssh("tail -n 1 /opt/bigearthnet/flows/__init__.py") == "# an update"
    assert (machine.login, machine.run(run)["state_type"]) == (secret, "CANCELLED")


def test_a_run_that_takes_too_much_memory_is_killed_and_nothing_else(machine: Machine) -> None:
    machine.wait_for_worker()
    started, greedy = machine.started(), machine.deploy_test_flow("greedy", "/opt/bigearthnet")
    assert machine.final_state(machine.start(greedy, mib=2048)) == "CRASHED"
    assert machine.started() == started
    log = machine.ssh("sudo journalctl -k -b --no-pager")
    assert "UML ran out of memory on the host side" not in log, "run: sysctl vm.max_map_count=1048576"
    assert log.count("Memory cgroup out of memory: Killed process") == 1, log
    assert machine.final_state(machine.start_sample()) == "COMPLETED"


def test_stopping_the_worker_ends_its_run(machine: Machine) -> None:
    run = machine.halt_sample()
    machine.ssh("sudo systemctl stop bigearthnet-worker")
    assert machine.ssh(RUN) == ""
    assert machine.final_state(run) == "CRASHED"
    machine.ssh("sudo systemctl start bigearthnet-worker")
    machine.wait_for_worker()


def test_without_the_data_volume_the_host_boots_but_the_worker_does_not_start(machine: Machine) -> None:
    disk = machine.ssh("findmnt -nro SOURCE /data")
    machine.ssh(f"sudo systemctl stop bigearthnet-worker; sudo umount /data; sudo e2label {disk} away")
    machine.end("down")
    machine.boot()
    assert machine.ssh(f"systemctl is-active {SERVICES} || true").split() == ["active", "inactive"]
    assert machine.ssh("findmnt /data || find /data -mindepth 1") == ""
    assert "cannot mount the volume that /etc/fstab names for /data" in machine.fail(f"sudo {PROVISION}")
    machine.ssh(f"sudo e2label {disk} bigearthnet; sudo systemctl start bigearthnet-worker")
    machine.wait_for_worker()
    assert machine.ssh("findmnt -nro SOURCE /data") == disk


def test_after_a_power_cut_the_run_is_crashed_and_the_next_one_resumes(machine: Machine) -> None:
    run = machine.halt_sample()
    machine.ssh("sync")
    machine.end("kill")
    machine.boot()
    machine.wait_for_worker()
    assert machine.final_state(run) == "CRASHED"
    assert machine.ssh("sudo swapon --show=NAME --noheadings") == "/swapfile"
    again = machine.start_sample()
    assert machine.final_state(again) == "COMPLETED"
    log = "\n".join(machine.logs(again))
    (patches, made) = re.findall(r"([\d,]+) patches in .*; ([\d,]+) converted in", log)[0]
    assert 0 < int(made.replace(",", "")) < int(patches.replace(",", ""))


def test_removal_keeps_the_data_and_provisioning_finds_it_again(machine: Machine) -> None:
    digest = f"sha256sum {DATASET}/dataset.json"
    card = machine.ssh(digest)
    assert "Left in place" in machine.ssh(f"sudo {PROVISION.replace('provision', 'uninstall')}")
    assert machine.ssh("ls /etc/systemd/system /opt | grep -c '^bigearthnet' || true") == "0"
    machine.fail("id bigearthnet || id bigearthnet-server")
    assert machine.ssh(f"{digest}; findmnt -nro LABEL /data").splitlines() == [card, "bigearthnet"]
    assert "server and worker are running" in machine.ssh(f"sudo {PROVISION}")
    machine.wait_for_worker()
    run = machine.start_sample()
    assert machine.final_state(run) == "COMPLETED"
    assert any("nothing was written" in line for line in machine.logs(run))
    assert machine.ssh(digest) == card
