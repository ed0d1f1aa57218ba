"""Print uv as a requirement for pip, with the version and the SHA-256s of uv.lock. It needs Python alone."""

import tomllib
from pathlib import Path

if __name__ == "__main__":
    lock = tomllib.loads((Path(__file__).parents[1] / "uv.lock").read_text())
    (uv,) = [package for package in lock["package"] if package["name"] == "uv"]
    print(f"uv=={uv['version']}", *(f"--hash={wheel['hash']}" for wheel in uv["wheels"]))
