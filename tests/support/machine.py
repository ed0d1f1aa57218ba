"""A virtual machine as small as a t2.micro, run by the program that T2MICRO names."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import State, WorkerStatus
from prefect.states import Scheduled

from tests.support.served import ROOT, eventually, free_port
from tests.support.stack import properties

TOOL = os.environ.get("T2MICRO", "")
GATEWAY = "10.0.2.2"
"""Address of this computer's loopback interface inside the machine."""
CLONE = "/usr/local/src/bigearthnet"
PROVISION = f"{CLONE}/deployments/ec2/provision.sh"
SERVICES = "bigearthnet-server bigearthnet-worker"


class Machine:
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

    def start(self, unit: str, command: str) -> None:
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
    def client(self) -> SyncPrefectClient:
        """A new client with the host's secret: connections end with the tunnel."""
        return SyncPrefectClient(f"{self.url}/api", auth_string=self.secret())

    def secret(self) -> str:
        return self.ssh("sudo sed -n s/^PREFECT_API_AUTH_STRING=//p /etc/bigearthnet/secret")

    def wait_for_worker(self) -> None:
        def is_online() -> bool:
            with self.client as client:
                workers = client.read_workers_for_work_pool("bigearthnet")
            return any(worker.status == WorkerStatus.ONLINE for worker in workers)

        eventually(is_online, "worker", 600)

    def started(self) -> str:
        """When server and worker were started."""
        return self.ssh(f"systemctl show -p ExecMainStartTimestamp -p ExecMainPID {SERVICES}")

    def start_sample(self) -> UUID:
        with self.client as client:
            return self._start(client, client.read_deployment_by_name("prepare/prepare-sample").id)

    def _start(self, client: SyncPrefectClient, deployment: UUID, **parameters: object) -> UUID:
        return client.create_flow_run_from_deployment(deployment, parameters=parameters, state=Scheduled()).id

    def halt_sample(self) -> UUID:
        """Start a run of the sample and halt its process after its first tile; returns the run's id."""
        self.ssh("sudo rm -rf /data/bigearthnet/sample")
        run = self.start_sample()
        self.ssh(
            "grep -q -m 1 'tiles done' < <(sudo journalctl -u bigearthnet-worker -n 0 -f); "
            "sudo pkill -STOP -u bigearthnet -f prefect.engine"
        )
        assert self.state(run).is_running()
        return run

    def continue_sample(self) -> None:
        self.ssh("sudo pkill -CONT -u bigearthnet -f prefect.engine")

    def start_greedy(self, mib: int) -> UUID:
        """Start a run that allocates so much memory; returns its id."""
        with self.client as client:
            deployment = client.create_deployment(
                flow_id=client.create_flow_from_name("greedy"),
                name="greedy",
                entrypoint="tests.support.greedy.greedy",
                work_pool_name="bigearthnet",
                pull_steps=[
                    {"prefect.deployments.steps.set_working_directory": {"directory": "/opt/bigearthnet"}}
                ],
            )
            return self._start(client, deployment, mib=mib)

    def state(self, run: UUID) -> State:
        with self.client as client:
            state = client.read_flow_run(run).state
        assert state
        return state

    def final_state(self, run: UUID) -> str:
        """Wait for the end of a run; returns the type of its state."""

        def final() -> str | None:
            state = self.state(run)
            return state.type.value if state.is_final() else None

        return eventually(final, f"end of run {run}", 900)

    def logs(self, run: UUID) -> str:
        with self.client as client:
            return "\n".join(
                log.message
                for log in client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])), limit=200)
            )


@contextmanager
def repository(folder: Path) -> Iterator[str]:
    """Serve this checkout, with uncommitted changes, as a git repository over HTTP; yields its URL."""

    def git(*arguments: str) -> str:
        environment = os.environ | {"GIT_INDEX_FILE": str(folder / "index")}
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.invalid")
        command = ["git", *identity, *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=environment, check=True, stdout=-1, text=True
        ).stdout.strip()

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


def stack_user_data(repository: str) -> str:
    """Return the user data of the stack's host, for a repository of ours."""
    text: str = properties("Instance")["UserData"]["Fn::Base64"]["Fn::Sub"][0]
    values = {"Ref": "main", "Repository": repository, "Source": CLONE, "AWS::Region": "eu-central-1"}
    for name, value in (values | {"VolumeSeconds": "600"}).items():
        text = text.replace(f"${{{name}}}", value)
    assert "${" not in text
    return text
