"""A machine as small as a t2.micro, made by the program that T2MICRO names, and what it clones."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from tests.support.served import FINAL, ROOT, eventually, free_port
from tests.support.stack import properties

TOOL = os.environ.get("T2MICRO", "")
GATEWAY = "10.0.2.2"
"""The loopback of this machine, as the small one sees it."""
SERVICES = ("bigearthnet-server", "bigearthnet-worker")
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

    @contextmanager
    def saying(self, command: str, text: str) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on after it has printed a text; whatever it prints then can be read."""
        process = subprocess.Popen(
            [TOOL, "ssh", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        try:
            lines = []
            while not any(text in line for line in lines):
                lines.append(process.stdout.readline())
                assert lines[-1], f"expected {text!r}, found {''.join(lines)}"
            yield process
        finally:
            process.terminate()
            process.wait(10)
            process.stdout.close()

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
        headers |= {
            "Connection": "close"
        }  # the server ends one that is kept open, just when it is used again
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
        """Start a run and halt its process as soon as it has made a tile; returns the run's id."""
        self.ssh("sudo rm -rf /data/bigearthnet/sample")
        run = self.start_sample()
        self.ssh(
            "grep -q -m 1 'tiles done' < <(sudo journalctl -u bigearthnet-worker -n 0 -f); "
            "sudo pkill -STOP -u bigearthnet -f prefect.engine"
        )
        assert self.state(run)["type"] == "RUNNING"
        return run

    def let_it_go_on(self) -> None:
        """Let the process go on that was halted."""
        self.ssh("sudo pkill -CONT -u bigearthnet -f prefect.engine")

    def start_greedy(self, mib: int) -> str:
        """Start a run that takes so much memory; returns its id."""
        flow = self.ask("POST", "flows/", {"name": "greedy"})
        there = {"directory": "/opt/bigearthnet"}
        asked = {
            "flow_id": flow["id"],
            "name": "greedy",
            "entrypoint": "tests.support.greedy.greedy",
            "work_pool_name": "bigearthnet",
            "pull_steps": [{"prefect.deployments.steps.set_working_directory": there}],
        }
        made = self.ask("POST", "deployments/", asked)
        run = {"parameters": {"mib": mib}, "state": {"type": "SCHEDULED"}}
        return str(self.ask("POST", f"deployments/{made['id']}/create_flow_run", run)["id"])


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


def stack_user_data(repository: str) -> str:
    """What the stack gives its host to begin with, but from a repository of ours."""
    text: str = properties("Instance")["UserData"]["Fn::Base64"]["Fn::Sub"][0]
    values = {
        "Ref": "main",
        "Repository": repository,
        "Source": "/usr/local/src/bigearthnet",
        "AWS::Region": "eu-central-1",
        "Patience": "0",
    }
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    assert "${" not in text
    return text
