"""A virtual machine as small as a t2.micro, run by the program that T2MICRO names."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.served import ROOT, Api, eventually, free_port

TOOL = os.environ.get("T2MICRO", "")
GATEWAY = "10.0.2.2"
"""Address of this computer's loopback interface inside the machine."""
CLONE = "/usr/local/src/bigearthnet"
PROVISION = f"{CLONE}/deployments/ec2/provision.sh"
SERVICES = "bigearthnet-server bigearthnet-worker"


class Machine(Api):
    """The machine, with an SSH tunnel to its server as in the README."""

    def __init__(self) -> None:
        self.port = free_port()
        self.tunnel: subprocess.Popen[bytes] | None = None

    def tool(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([TOOL, *arguments], capture_output=True, text=True, check=False, timeout=3000)
        assert not check or done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done

    def ssh(self, command: str) -> str:
        """Return the output of a command that succeeds."""
        return self.tool("ssh", command).stdout.strip()

    def fail(self, command: str) -> str:
        """Return the output of a command that fails."""
        done = self.tool("ssh", command, check=False)
        assert done.returncode, done.stdout
        return done.stdout + done.stderr

    def start_unit(self, unit: str, command: str) -> None:
        """Start a command as root, in a unit whose log is the command's output."""
        self.ssh(f"sudo systemd-run --quiet --unit={unit} sh -c '{command}'")

    def output(self, unit: str) -> str:
        return self.ssh(f"sudo journalctl --no-pager -o cat -u {unit}")

    def boot(self, *arguments: str) -> None:
        self.tool("up", *arguments)
        self.ssh("sudo cloud-init status --wait >/dev/null; systemctl is-system-running --wait || true")
        forward = f"127.0.0.1:{self.port}:127.0.0.1:4200"
        command = [TOOL, "ssh", "-N", "-L", forward, "-o", "ExitOnForwardFailure=yes"]
        self.tunnel = subprocess.Popen(command, start_new_session=True)

    def end(self, how: str) -> None:
        """End the machine: "down" shuts it down, "kill" cuts the power."""
        if self.tunnel:
            os.killpg(self.tunnel.pid, 15)
            self.tunnel.wait(10)
            self.tunnel = None
        self.tool(how)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def login(self) -> str:
        return self.ssh("sudo sed -n s/^PREFECT_API_AUTH_STRING=//p /etc/bigearthnet/secret")

    def wait_for_worker(self) -> None:
        def is_online() -> bool:
            workers = self.ask("POST", "/work_pools/bigearthnet/workers/filter", {})
            return any(worker["status"] == "ONLINE" for worker in workers)

        eventually(is_online, "worker", 600)

    def started(self) -> str:
        """When server and worker were started."""
        return self.ssh(f"systemctl show -p ExecMainStartTimestamp -p ExecMainPID {SERVICES}")

    def start_sample(self) -> str:
        return self.start(self.deployments()["prepare/prepare-sample"]["id"])

    def halt_sample(self) -> str:
        """Start a run of the sample and halt its process after its first tile; returns the run's id."""
        self.ssh("sudo rm -rf /data/bigearthnet/sample")
        run = self.start_sample()
        self.ssh(
            "grep -q -m 1 'tiles done' < <(sudo journalctl -u bigearthnet-worker -n 0 -f); "
            "sudo pkill -STOP -u bigearthnet -f prefect.engine"
        )
        assert self.run(run)["state_type"] == "RUNNING"
        return run

    def final_state(self, run: str) -> str:
        """Wait for the end of a run; returns the type of its state."""
        return str(self.ended(run, 900)["type"])


@contextmanager
def repository(folder: Path) -> Iterator[str]:
    """Serve this checkout, with uncommitted changes, as a git repository over HTTP; yields its URL."""

    def git(*arguments: str) -> str:
        environment = os.environ | {"GIT_INDEX_FILE": str(folder / "index")}
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.invalid")
        command = ["git", *identity, *arguments]
        return subprocess.check_output(command, cwd=ROOT, env=environment, text=True).strip()

    bare = str(folder / "repository.git")
    git("add", "--all")
    commit = git("commit-tree", git("write-tree"), "-m", "checkout")
    git("init", "--quiet", "--bare", "--initial-branch=main", bare)
    git("push", "--quiet", bare, f"{commit}:refs/heads/main")
    git("-C", bare, "update-server-info")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{GATEWAY}:{server.server_port}/repository.git"
        finally:
            server.shutdown()
