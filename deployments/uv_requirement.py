"""Print uv as a requirement for pip, with the version and the SHA-256s of uv.lock. It needs Python alone."""

import tomllib
from pathlib import Path

_LOCK = tomllib.loads((Path(__file__).parents[1] / "uv.lock").read_text())
(_UV,) = [package for package in _LOCK["package"] if package["name"] == "uv"]
print(f"uv=={_UV['version']}", *(f"--hash={wheel['hash']}" for wheel in _UV["wheels"]))
