"""The command line as a person uses it: help, mistakes, the sample, Ctrl-C."""

import inspect
import os
import re
import signal
import socket
import subprocess
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL
from pydantic import BaseModel

from deployments.cli import EXAMPLES, FLOWS, main

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]  # a slow core starts the server in minutes

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).with_name("bigearthnet")
SCREEN_LINES = 30
ROUTINE = re.compile("Finished in state|Beginning flow run|Created task run|Stopping|Traceback|Crash")


MISTAKES = {
    ("prepare", "--splits", "val"): "validation",
    ("prepare", "--max-patches", "-5"): "--max-patches: the number of patches cannot be negative",
    ("prepare", "--max-rejected", "-1"): "--max-rejected",
    ("prepare", "--percentiles", "5", "5"): "percentiles",
    ("subset", "a", "b", "--with-labels", "pasture"): "Did you mean Pastures?",
    ("subset", "a", "b", "--with-labels", "water"): "Did you mean Inland waters or Marine waters?",
    ("mirror", "10891137"): "--destination",
    ("serve", "--port", "0"): "--port",
    ("prepair",): "prepare",
}


def clean(**variables: str) -> dict[str, str]:
    """The environment of a person who has set nothing else for Prefect."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return environment | {"COLUMNS": "80"} | variables


def bigearthnet(*arguments: str, home: Path, **variables: str) -> "subprocess.Popen[str]":
    """Start a command in a folder of its own, which has no pyproject.toml, and as a group of its own."""
    home.mkdir(exist_ok=True)
    return subprocess.Popen(
        (COMMAND, *arguments),
        env=clean(PREFECT_HOME=str(home), **variables),
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, list[str]]:
    """Exit code, standard output, and the lines of standard error."""
    output, errors = process.communicate(timeout=400)
    return process.returncode, output, errors.splitlines()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For commands in this process, which may set variables: importing Prefect takes seconds."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(os, "environ", clean(PREFECT_HOME=str(home)))


def options(name: str) -> set[str]:
    """Return the options of a flow, with the fields of its models in place of these."""
    found = set()
    for parameter in inspect.signature(getattr(import_module(f"flows.{name}"), name).fn).parameters.values():
        default = parameter.default
        found |= set(type(default).model_fields) if isinstance(default, BaseModel) else {parameter.name}
    return {f"--{option.replace('_', '-')}" for option in found}


@pytest.mark.parametrize("name", FLOWS)
def test_help_has_each_option_and_examples(here: None, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([name, "--help"])
    output = capsys.readouterr().out
    assert set(re.findall(r"--[a-z-]+(?= )", output.split("Examples:")[0])) == options(name)
    about = output.split("╭")[0].splitlines()
    for line, following in pairwise(about):
        assert not (line and following) or len(f"{line.rstrip()} {following.split()[0]}") > 80, line
    examples = [line for line in EXAMPLES.splitlines() if line.startswith(f"bigearthnet {name} ")]
    assert examples
    for line in examples:
        assert f"\n  {line}\n" in output, "an example has a line of its own, to be copied"


def test_the_list_of_commands_needs_neither_prefect_nor_numpy() -> None:
    code = (
        "import sys\nfrom deployments.cli import main\n"
        "try: main(['--help'])\nfinally: print({'prefect', 'numpy'} & sys.modules.keys())"
    )
    found = subprocess.run((sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.endswith("set()\n")
    assert all(re.search(rf"│ {name} ", found.stdout) for name in (*FLOWS, "browse", "serve", "deploy"))


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_a_mistake_is_two_lines(
    here: None, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert capsys.readouterr() == ("", "")
    said, advice = str(end.value.code).splitlines()  # Python prints them as errors, and exits with 1
    assert MISTAKES[arguments] in said
    assert not re.search("pydantic|type=|input_value", said)
    assert advice.endswith("--help")


def test_a_home_that_cannot_be_used_is_named(
    here: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setitem(os.environ, "PREFECT_HOME", str(tmp_path / "file" / "x"))
    for command in (["prepare"], ["serve"], ["deploy"]):
        with pytest.raises(SystemExit, match=r"^bigearthnet: cannot use PREFECT_HOME .*/file/x: a part of"):
            main(command)


def test_any_locale_will_do(home: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    code, output, errors = ended(bigearthnet("prepare", "--help", home=home, **ascii_only))
    assert (code, errors) == (0, [])
    assert "Examples:" in output


def test_an_expected_error_is_two_lines(prefect_server: None, home: Path, tmp_path: Path) -> None:
    arguments = ("prepare", str(tmp_path / "a b"), "--source", "/no such", "--work-dir", str(tmp_path / "w"))
    process = bigearthnet(*arguments, home=home, PREFECT_API_URL=str(PREFECT_API_URL.value()))
    code, output, errors = ended(process)
    assert (code, output) == (1, "")
    assert re.search("ERROR +there is no folder /no such", errors[-2])
    assert "run it again" in errors[-1]
    assert not [line for line in errors[:-2] if "no such" in line or ROUTINE.search(line)]


def test_a_server_that_is_not_there_is_named(home: Path) -> None:
    process = bigearthnet("prepare", home=home, PREFECT_API_URL="http://127.0.0.1:9/api")
    code, _, errors = ended(process)
    assert (code, len(errors)) == (1, 2)
    assert "http://127.0.0.1:9/api" in errors[0]


def test_a_temporary_server_that_cannot_start_ends_the_command(tmp_path: Path) -> None:
    (tmp_path / "prefect.db").mkdir()
    code, _, errors = ended(bigearthnet("prepare", "--source", "sample", home=tmp_path))
    assert code == 1
    assert "\n".join(errors).count("unable to open database file") < 5, "it was tried once"
    assert errors[-2].endswith(f"does not start, see above. Its files are in {tmp_path}.")
    assert errors[-1].startswith("Check the free space")


def test_the_sample_fits_on_a_screen(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "with a space" / "dataset"
    arguments = ("prepare", str(target), "--source", "sample", "--work-dir", str(tmp_path / "work"))
    # The temporary server is on this machine, which no proxy leads to.
    process = bigearthnet(*arguments, home=home, HTTP_PROXY="http://127.0.0.1:9")
    code, output, errors = ended(process)
    assert code == 0, errors
    assert len(errors) + len(output.splitlines()) <= SCREEN_LINES
    assert not [line for line in errors if ROUTINE.search(line)]
    files = [Path(line.strip()) for line in output.splitlines() if line.startswith(f"  {target}")]
    assert len(files) == 4
    assert all(file.exists() for file in files)
    assert "make dataset" in output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_to_all_its_processes_ends_a_run_quietly(
    home: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(400)
        source = f"http://127.0.0.1:{silent.getsockname()[1]}/api/records/1"
        arguments = ("prepare", str(tmp_path / "d"), "--source", source, "--work-dir", str(tmp_path / "w"))
        process = bigearthnet(*arguments, home=home)
        with silent.accept()[0]:
            os.killpg(process.pid, number)
            ended_with, output, errors = ended(process)
    assert (ended_with, output) == (code, "")
    assert not [line for line in errors if ROUTINE.search(line) or "rror" in line]
    assert ("run the same command again" in errors[-1].lower()) is (number == signal.SIGINT)
