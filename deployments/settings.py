"""Prefect's settings here: `[tool.prefect]` of pyproject.toml, the server's address and its login."""

import os
import secrets
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bigearthnet.store.disk import translate_os_errors

ROOT: Final = Path(__file__).resolve().parents[1]
"""The project's folder. Flow runs start in it."""
POOL: Final = "bigearthnet"
"""Name of the work pool."""
HOST: Final = "127.0.0.1"
PORT: Final = 4200
_LOCAL: Final = (None, HOST, "localhost")
_PACKAGE: Final = Path(__file__).resolve().parent
_INSTALLED_HOME: Final = "~/bigearthnet/.prefect"
"""Folder of Prefect's files if this is installed from a wheel, which has no folder of a project."""


def project_file(name: str) -> Path:
    """Return the path of a file of the project. A wheel has it in this package."""
    packaged = _PACKAGE / name
    return packaged if packaged.exists() else ROOT / name


def environment(port: int, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of a server and its worker; `given` overrides pyproject.toml."""
    url = f"http://{HOST}:{port}"
    return _with_defaults(given) | {
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_UI_URL": url,
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        # Pages of other sites, open in the same browser, must not start runs.
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"{url},http://localhost:{port}",
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
    }


def apply() -> None:
    """Set the environment variables of this process for Prefect. Call it before Prefect is imported.

    Variables that are set already stay. The login is sent to servers of this machine only, and never by way
    of a proxy.
    """
    settings = _with_defaults(os.environ)
    own = settings.get("PREFECT_SERVER_API_AUTH_STRING") or login(Path(settings["PREFECT_HOME"]))
    settings["PREFECT_SERVER_API_AUTH_STRING"] = own
    if urlsplit(settings.get("PREFECT_API_URL", "")).hostname in _LOCAL:
        settings.setdefault("PREFECT_API_AUTH_STRING", own)
        name = "no_proxy" if "no_proxy" in settings else "NO_PROXY"
        settings[name] = _with_this_machine(settings.get(name, ""))
    os.environ.update(settings)


def login(home: Path) -> str:
    """Return the server's `user:password`, which is made once. Only its owner can read it, and `home`.

    Raises:
        StoreError: `home`, the folder of PREFECT_HOME, cannot be used.
        SpaceError: the disk is full.
    """
    path = home / "login"
    with translate_os_errors("use PREFECT_HOME", home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)  # its database holds the credentials of blocks, and the key to them
        if path.exists() and not path.read_text().strip():
            path.unlink()  # with an empty login, the server would let everyone in
        if not path.exists():
            draft = home / f"login.{os.getpid()}"
            draft.touch(mode=0o600)
            draft.write_text(f"bigearthnet:{secrets.token_urlsafe(24)}")
            with suppress(FileExistsError):  # another process was first
                path.hardlink_to(draft)
            draft.unlink()
        return path.read_text().strip()


def _with_defaults(given: Mapping[str, str]) -> dict[str, str]:
    project = project_file("pyproject.toml")
    settings = dict(_variables("PREFECT", tomllib.loads(project.read_text("utf-8"))["tool"]["prefect"]))
    if project.parent == _PACKAGE:
        settings["PREFECT_HOME"] = _INSTALLED_HOME
    for name in ("PREFECT_HOME", "PREFECT_LOGGING_CONFIG_PATH"):
        settings[name] = str(ROOT / Path(settings[name]).expanduser())
    settings |= given
    return settings | {"PREFECT_HOME": str(Path(settings["PREFECT_HOME"]).expanduser().resolve())}


def _with_this_machine(hosts: str) -> str:
    """Return the value of NO_PROXY with this machine in it; `*` stands for all hosts, if it is alone."""
    if hosts.strip() == "*":
        return hosts
    listed = [host.strip() for host in hosts.split(",") if host.strip()]
    return ",".join(dict.fromkeys((*listed, HOST, "localhost")))


def _variables(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the settings of a table by the names of their environment variables."""
    for key, value in table.items():
        name = f"{prefix}_{key.upper()}"
        if isinstance(value, dict):
            yield from _variables(name, value)
        else:
            yield name, str(value)


if __name__ == "__main__":  # an EnvironmentFile for the units of deployments/ec2
    for name, value in sorted(environment(PORT, {}).items()):
        if name != "PREFECT_HOME":  # each unit has its own
            print(f'{name}="{value}"')
