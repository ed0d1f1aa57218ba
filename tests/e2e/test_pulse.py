"""What a person hears while something takes long."""

import threading

import pytest
from prefect import flow
from tasks.pulse import pulse

pytestmark = pytest.mark.e2e


class Heard(threading.Event):
    """Set with the second line."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def tell(self, line: str, *arguments: object) -> None:
        self.lines.append(line % arguments)
        if len(self.lines) == 2:
            self.set()


def test_it_is_told_again_and_again_and_not_after_the_end(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()

    @flow
    def long() -> None:
        from prefect import get_run_logger  # noqa: PLC0415

        monkeypatch.setattr(type(get_run_logger()), "info", lambda _self, *line: heard.tell(*line))
        with pulse("counting sheep", every_seconds=0.01):
            assert heard.wait(20)
        before = len(heard.lines)
        assert "counting sheep" not in [thread.name for thread in threading.enumerate()]
        assert len(heard.lines) == before

    long()
    assert heard.lines[0] == "counting sheep, for 0 s until now"


def test_an_error_ends_it_too(prefect_server: None) -> None:
    @flow
    def failing() -> None:
        with pytest.raises(KeyboardInterrupt), pulse("failing"):
            raise KeyboardInterrupt
        assert "failing" not in [thread.name for thread in threading.enumerate()]

    failing()
