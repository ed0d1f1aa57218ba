"""The whole house on a machine as small as a t2.micro, from nothing to its removal.

T2MICRO names the program that makes the machine: `up [--fresh] [--user-data FILE]`, `ssh [COMMAND]`, `down`,
`kill`. The tests are one story, told in the order of the file. On an emulated machine it takes half an hour.
"""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.support.house import FINAL, eventually, free_port

TOOL = os.environ.get("T2MICRO", "")
pytestmark = [
    pytest.mark.host,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not TOOL, reason="T2MICRO names no program that makes the machine"),
]

ROOT = Path(__file__).resolve().parents[2]
GATEWAY = "10.0.2.2"
"""The loopback of this machine, as the small one sees it."""
PROVISION = "cd clone && sudo deployments/ec2/provision.sh"
DATASET = "/data/bigearthnet/sample/dataset"
SERVICES = ("bigearthnet-server", "bigearthnet-worker")
MIB = 1 << 20
BUSY = urllib3.Retry(
    total=8, connect=0, read=0, status_forcelist=[503], allowed_methods=None, backoff_factor=0.2
)
"""A busy server says so, as it does to Prefect's own clients."""


@dataclass
class Machine:
    """The small machine, and the way to its API: a tunnel, as the README has it."""

    port: int = field(default_factory=free_port)
    tunnel: subprocess.Popen[bytes] | None = None

    def tool(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([TOOL, *arguments], capture_output=True, text=True, check=False, timeout=3000)
        assert not check or done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done

    def ssh(self, command: str) -> str:
        """What a command prints, which must succeed."""
        return self.tool("ssh", command).stdout.strip()

    def refuses(self, command: str) -> str:
        """What a command prints, which must fail."""
        done = self.tool("ssh", command, check=False)
        assert done.returncode, done.stdout
        return done.stdout + done.stderr

    def boot(self, *arguments: str) -> None:
        self.tool("up", *arguments)
        self.ssh("sudo cloud-init status --wait >/dev/null; systemctl is-system-running --wait || true")
        self.open_tunnel()

    def open_tunnel(self) -> None:
        forward = f"127.0.0.1:{self.port}:127.0.0.1:4200"
        command = [TOOL, "ssh", "-N", "-L", forward, "-o", "ExitOnForwardFailure=yes"]
        self.tunnel = subprocess.Popen(command, start_new_session=True)

    def close_tunnel(self) -> None:
        if self.tunnel:
            os.killpg(self.tunnel.pid, 15)
            self.tunnel.wait(10)
            self.tunnel = None

    def request(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> urllib3.BaseHTTPResponse:
        url = f"http://127.0.0.1:{self.port}{path}"
        return urllib3.request(method, url, json=body, headers=headers, retries=BUSY, timeout=60)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask the API as the UI does: with the secret, and with a token against forged requests."""
        headers = urllib3.make_headers(basic_auth=self.secret())
        token = json.loads(self.request("GET", "/api/csrf-token?client=test", **headers).data)["token"]
        headers |= {"Prefect-Csrf-Client": "test", "Prefect-Csrf-Token": token}
        answer = self.request(method, f"/api/{path}", body, **headers)
        assert answer.status < 300, (method, path, answer.status, answer.data)
        return json.loads(answer.data) if answer.data else None

    def secret(self) -> str:
        return self.ssh("sudo sed -n s/^PREFECT_API_AUTH_STRING=//p /etc/bigearthnet/secret")

    def wait_for_worker(self) -> None:
        def online() -> bool:
            found = self.ask("POST", "work_pools/bigearthnet/workers/filter", {})
            return any(worker["status"] == "ONLINE" for worker in found)

        eventually(online, "worker", 600)

    def start_sample(self) -> str:
        deployment = self.ask("GET", "deployments/name/prepare/sample")
        asked = {"state": {"type": "SCHEDULED"}}
        return str(self.ask("POST", f"deployments/{deployment['id']}/create_flow_run", asked)["id"])

    def state(self, run: str) -> dict[str, Any]:
        return dict(self.ask("GET", f"flow_runs/{run}")["state"])

    def ended(self, run: str) -> dict[str, Any]:
        def final() -> dict[str, Any] | None:
            state = self.state(run)
            return state if state["type"] in FINAL else None

        return eventually(final, f"end of run {run}", 900)

    def logs(self, run: str) -> str:
        found = self.ask("POST", "logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
        return "\n".join(line["message"] for line in found)

    def since(self) -> str:
        """When server and worker were started."""
        return self.ssh(f"systemctl show -p ExecMainStartTimestamp -p ExecMainPID {' '.join(SERVICES)}")

    def stop_the_next_run(self) -> str:
        """Start a run and halt its process as soon as it has made a tile; returns its id."""
        self.ssh("sudo rm -rf /data/bigearthnet/sample")
        run = self.start_sample()
        self.ssh(
            "grep -q -m 1 'tiles done' < <(sudo journalctl -u bigearthnet-worker -n 0 -f); "
            "sudo pkill -STOP -u bigearthnet -f prefect.engine"
        )
        assert self.state(run)["type"] == "RUNNING"
        return run


@contextmanager
def repository(folder: Path) -> Iterator[str]:
    """This checkout, with what is not committed yet, as a repository over HTTP; gives its URL."""
    work = folder / "work"
    work.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    names = [name for name in listed.split(b"\0") if name and (ROOT / os.fsdecode(name)).exists()]
    tar = subprocess.run(
        ["tar", "--null", "--files-from=-", "-cf", "-"],
        cwd=ROOT,
        input=b"\0".join(names),
        stdout=-1,
        check=True,
    ).stdout
    subprocess.run(["tar", "-xf", "-"], cwd=work, input=tar, check=True)
    for command in (
        ("init", "-q", "-b", "main"),
        ("add", "-A"),
        ("-c", "user.name=test", "-c", "user.email=test@example.invalid", "commit", "-q", "-m", "as it is"),
        ("clone", "-q", "--bare", ".", str(folder / "served" / "repository.git")),
        ("-C", str(folder / "served" / "repository.git"), "update-server-info"),
    ):
        subprocess.run(["git", *command], cwd=work, check=True)
    port = free_port()
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            "--directory",
            str(folder / "served"),
            str(port),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://{GATEWAY}:{port}/repository.git"
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that was provisioned from nothing, by provision.sh as its user data."""
    folder = tmp_path_factory.mktemp("host")
    script = (ROOT / "deployments" / "ec2" / "provision.sh").read_text()
    user_data = folder / "user-data"
    machine = Machine()
    with repository(folder) as url:
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
    machine.ssh("sudo pkill -CONT -u bigearthnet -f prefect.engine")
    assert machine.ended(run)["type"] == "COMPLETED"
    eventually(
        lambda: not machine.ssh("pgrep -u bigearthnet -f prefect.engine || true"), "end of the process"
    )
    secret = machine.secret()
    assert "server and worker are up" in machine.ssh(PROVISION)
    assert machine.ssh("tail -n 1 /opt/bigearthnet/flows/__init__.py") == "# an update"
    assert machine.secret() == secret
    assert machine.state(run)["type"] == "COMPLETED"


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


def test_a_disk_that_holds_something_else_is_not_formatted(machine: Machine) -> None:
    disk = machine.ssh("findmnt -nro SOURCE /data")
    machine.ssh(
        "sudo umount /data; sudo sed -i '\\# /data #d' /etc/fstab; sudo systemctl daemon-reload; "
        f"sudo mkfs.ext4 -q -F -L photos {disk}; sudo mount {disk} /mnt; echo dear | sudo tee /mnt/photo; "
        "sudo umount /mnt; sudo udevadm settle"
    )
    assert f"{disk} is left alone: it holds ext4 photos" in machine.ssh(PROVISION)
    machine.ssh(f"sudo mount {disk} /mnt")
    assert machine.ssh("cat /mnt/photo") == "dear"
    machine.wait_for_worker()
    assert machine.ended(machine.start_sample())["type"] == "COMPLETED", "without a data volume"
