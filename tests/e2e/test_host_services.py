"""Login to a host's server and UI: only with its secret."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from playwright.sync_api import Page, expect

from tests.support.browser import CHROMIUM, Ui, browsing
from tests.support.published import require_whole
from tests.support.services import Services, host_services

pytestmark = pytest.mark.e2e
needs_browser = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs a browser at {CHROMIUM}")
GUESS = "bigearthnet:guess"


@pytest.fixture(autouse=True)
def quick() -> None:
    """Override the fixture of whole flows: no flow runs in this process."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("host")


@pytest.fixture(scope="module")
def services(home: Path) -> Iterator[Services]:
    with host_services(home, {"PREFECT_WORKER_QUERY_SECONDS": "1"}) as services:
        yield services


@pytest.fixture
def page(services: Services, tmp_path: Path) -> Iterator[Page]:
    """The UI in a new browser."""
    with browsing(tmp_path) as browser, browser.new_page() as page:
        page.goto(services.url)
        yield page


def log_in(page: Page, secret: str) -> None:
    page.get_by_role("textbox").fill(secret)
    page.get_by_role("button", name="Login").click()


@pytest.mark.parametrize(
    ("method", "path", "who", "status"),
    [
        ("GET", "health", "nobody", 200),
        ("GET", "admin/version", "nobody", 401),
        ("GET", "admin/version", "guesser", 401),
        ("GET", "admin/version", "owner", 200),
        ("POST", "flows/filter", "owner", 403),  # without the CSRF token of the UI
    ],
)
def test_the_api_answers(services: Services, *, method: str, path: str, who: str, status: int) -> None:
    secret = {"nobody": None, "guesser": GUESS, "owner": services.secret}[who]
    headers = urllib3.make_headers(basic_auth=secret)
    answer = urllib3.request(method, f"{services.url}/api/{path}", headers=headers, json={})
    assert answer.status == status


@needs_browser
def test_a_wrong_secret_does_not_open_the_ui(page: Page) -> None:
    with page.expect_response("**/api/**") as answer:
        log_in(page, GUESS)
    assert answer.value.status == 401
    expect(page.get_by_role("button", name="Login")).to_be_visible()


@needs_browser
def test_with_the_secret_a_run_is_started_and_completes(page: Page, services: Services, home: Path) -> None:
    log_in(page, services.secret)
    page.wait_for_url("**/dashboard*")
    ui = Ui(page, services.url)
    ui.open_form("prepare/prepare-sample")
    ui.submit()
    ui.wait_for_state("Completed")
    require_whole(home / "bigearthnet" / "sample" / "dataset")
