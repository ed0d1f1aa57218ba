"""Login to a host's server and UI: only with its secret."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from playwright.sync_api import expect

from tests.support.browser import CHROMIUM, Ui, browsing
from tests.support.published import require_whole
from tests.support.services import Services, host_services

pytestmark = pytest.mark.e2e
GUESS = "bigearthnet:guess"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("host")


@pytest.fixture(scope="module")
def services(home: Path) -> Iterator[Services]:
    with host_services(home, {"PREFECT_WORKER_QUERY_SECONDS": "1"}) as services:
        yield services


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


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs a browser at {CHROMIUM}")
def test_only_the_secret_opens_the_ui(services: Services, home: Path, tmp_path: Path) -> None:
    with browsing(tmp_path) as browser, browser.new_page() as page:
        page.goto(services.url)
        field, button = page.get_by_role("textbox"), page.get_by_role("button", name="Login")
        field.fill(GUESS)
        with page.expect_response("**/api/**") as answer:
            button.click()
        assert answer.value.status == 401
        expect(button).to_be_visible()
        field.fill(services.secret)
        button.click()
        page.wait_for_url("**/dashboard*")
        ui = Ui(page, services.url)
        ui.open_form("prepare/prepare-sample")
        ui.submit()
        ui.wait_for_state("Completed")
    require_whole(home / "bigearthnet" / "sample" / "dataset")
