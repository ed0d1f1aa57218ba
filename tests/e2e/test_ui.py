"""The Prefect UI of a host in a real browser: login, form, refusals, run, log, report, schedule."""

import base64
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.support.browser import CHROMIUM, Ui, browsing
from tests.support.published import patch_ids, require_whole
from tests.support.served import Served, eventually
from tests.support.services import host_services

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no browser at {CHROMIUM}"),
]
SAMPLE, SHARE, NIGHTLY = "prepare/prepare-sample", "share/share-links", "sync/nightly-sync"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with host_services(tmp_path_factory.mktemp("host"), PREFECT_WORKER_QUERY_SECONDS="1") as served:
        yield served


@pytest.fixture(scope="module")
def browser(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """A browser that is logged in."""
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        with browser.new_page() as page:
            ui = Ui(page, served.url)
            assert ui.log_in("bigearthnet:guess") == 401
            assert ui.log_in(served.login) == 200
            page.wait_for_url("**/dashboard*")
        yield browser


@pytest.fixture
def ui(served: Served, browser: BrowserContext) -> Iterator[Ui]:
    with browser.new_page() as page:
        yield Ui(page, served.url)


def test_a_run_is_filled_in_started_watched_and_its_report_read(served: Served, ui: Ui) -> None:
    ui.open_form(SAMPLE)
    ui.field("Maximum number of patches").fill("45")
    ui.choose("Mask classes", "clc_l3")
    run = ui.submit()
    ui.wait_for_state("Completed")
    folder = served.folder / "bigearthnet" / "sample" / "dataset"
    assert require_whole(folder)["counts"]["patches"] == 45
    made = patch_ids(folder, "masks")

    eventually(lambda: any(" converted in " in line for line in served.logs(run)), "end of the log")
    ui.open_run(run)
    line = ui.show_line(f"{made[0][:-6]}: ")
    line.scroll_into_view_if_needed()  # the log can lie below what the window shows
    expect(line).to_be_in_viewport()

    ui.open_artifact("report")
    pictures = ui.page.locator("main img[alt]")
    expect(pictures).to_have_count(2)
    preview = base64.b64encode((folder / "preview.png").read_bytes()).decode()
    expect(pictures.first).to_have_attribute("src", f"data:image/png;base64,{preview}")
    widths = [one.evaluate("img => img.decode().then(() => img.naturalWidth)") for one in pictures.all()]
    assert widths == [764, 1264], "the preview, and the worst patches in half their size"
    expect(ui.page.get_by_role("heading", level=1)).to_contain_text("45 patches")
    expect(ui.page.get_by_role("listitem").filter(has_text="BigEarthNet-S2.tar.zst")).to_be_visible()
    text = ui.page.locator("main .prose")
    assert text.evaluate("text => text.scrollWidth == text.clientWidth"), "it runs under the side panel"


def test_what_is_out_of_limits_or_missing_is_refused_beside_its_field(served: Served, ui: Ui) -> None:
    before = served.ask("POST", "/flow_runs/count", {})
    ui.open_form(SHARE)
    minutes = ui.field("Links end after")
    minutes.fill("9999")
    ui.button("Submit").click()
    expect(minutes).to_be_focused()
    assert "less than or equal to 720" in minutes.evaluate("field => field.validationMessage")
    minutes.fill("60")
    ui.field("Name to save as").fill("a/b")
    ui.button("Submit").click()
    expect(ui.page.get_by_text("'source' is a required property").first).to_be_visible()
    expect(ui.page.get_by_text(re.compile("^'a/b' does not match")).first).to_be_visible()
    assert served.ask("POST", "/flow_runs/count", {}) == before


def test_the_nightly_schedule_is_shown_and_can_be_paused(served: Served, ui: Ui) -> None:
    def active() -> list[bool]:
        return [one["active"] for one in served.deployments()[NIGHTLY]["schedules"]]

    ui.open_deployment(NIGHTLY)
    switch = ui.page.get_by_role("switch", name="At 02:00 AM")
    expect(switch).to_be_checked()
    assert active() == [True]
    ui.click(switch, "/schedules/")
    assert active() == [False]
    expect(switch).not_to_be_checked()
