"""The Prefect UI in a real browser: form, refusals, run, log, report, schedule, cancelling."""

import base64
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect

from bigearthnet.sample.archives import Sample
from tests.support.archives import IMAGES, pixels
from tests.support.browser import CHROMIUM, Ui, browsing
from tests.support.house import RUN, House, eventually, serving
from tests.support.published import CARD, member, patch_ids, require_whole
from tests.support.record_server import Fault, RecordServer
from tests.support.runs import Place

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"expected a browser at {CHROMIUM}, found none"),
]


@pytest.fixture(autouse=True)
def quick() -> None:
    """Instead of that of whole flows: no flow runs in this process, and it needs no server here."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with serving(tmp_path_factory.mktemp("house")) as (house, _):
        yield house


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def ui(house: House, browser: BrowserContext) -> Iterator[Ui]:
    with browser.new_page() as page:
        yield Ui(page, house.url)


def runs_of(house: House, full_name: str) -> int:
    only = {"deployments": {"id": {"any_": [house.deployments()[full_name]["id"]]}}}
    return int(house.ask("POST", "flow_runs/count", only))


def converted(house: House, run: str) -> dict[str, str]:
    """Tile -> state of its conversion, of a run that has ended."""
    only = {"flow_runs": {"id": {"any_": [run]}}, "task_runs": {"name": {"like_": "convert "}}}
    found: list[dict[str, Any]] = house.ask("POST", "task_runs/filter", only)
    return {one["name"].split()[1]: one["state_name"] for one in found}


def test_what_is_filled_into_the_form_is_done_and_can_be_read_and_seen(house: House, ui: Ui) -> None:
    ui.open_form("prepare/sample")
    ui.field("Maximum number of patches").fill("45")
    ui.choose("Mask classes", "clc_l3")
    ui.page.get_by_role("heading", name="Parameters").evaluate("heading => heading.scrollIntoView()")
    ui.screenshot("form")
    run = ui.submit()
    ui.wait_for_state("Completed")

    folder = house.home / "bigearthnet" / "sample" / "dataset"
    made = patch_ids(folder, "masks")
    assert len(made) == 45
    masks = [pixels(member(folder, "masks", patch)) for patch in made]
    assert {str(mask.dtype) for mask in masks} == {"uint8"}  # codes of CORINE have 16 bits
    assert {int(value) for mask in masks for value in (mask.min(), mask.max())} <= {*range(1, 46)}

    eventually(lambda: any("made in this run" in line for line in house.logs(run)), "end of the log")
    ui.open_run(run)
    log = ui.log()
    for tile, patches in Counter(patch[:-6] for patch in made).items():
        assert log.count(f"{tile}: {patches} patches, 0 rejected") == 1
    expect(ui.show_line(f"{made[0][:-6]}: ")).to_be_in_viewport()
    ui.screenshot("run")

    ui.open_artifact("report")
    source, width = ui.picture()
    assert (
        source == f"data:image/png;base64,{base64.b64encode((folder / 'preview.png').read_bytes()).decode()}"
    )
    assert width > 0
    expect(ui.page.get_by_role("heading", level=1)).to_contain_text("45 patches")
    ui.screenshot("report")


@pytest.mark.parametrize(
    ("deployment", "title", "value", "message"),
    [
        ("prepare/sample", "PNG compression", "11", "Value must be less than or equal to 9."),
        ("share/links", "Links end after", "9999", "Value must be less than or equal to 720."),
    ],
)
def test_a_number_out_of_its_limits_is_refused_by_the_browser(
    house: House, ui: Ui, *, deployment: str, title: str, value: str, message: str
) -> None:
    before = runs_of(house, deployment)
    ui.open_form(deployment)
    field = ui.field(title)
    field.fill(value)
    ui.button("Submit").click()
    expect(field).to_be_focused()
    assert field.evaluate("field => field.validationMessage") == message
    assert runs_of(house, deployment) == before


def test_what_only_the_server_can_tell_is_refused_beside_its_field(house: House, ui: Ui) -> None:
    before = runs_of(house, "share/links")
    ui.open_form("share/links")
    ui.field("Name to save as").fill("a/b")
    ui.button("Submit").click()
    expect(ui.page.get_by_text("'source' is a required property").first).to_be_visible()
    expect(ui.page.get_by_text(re.compile("^'a/b' does not match")).first).to_be_visible()
    assert runs_of(house, "share/links") == before


def test_the_nightly_schedule_is_shown_and_can_be_paused(house: House, ui: Ui) -> None:
    def active() -> list[bool]:
        return [one["active"] for one in house.deployments()["sync/nightly"]["schedules"]]

    ui.open_deployment("sync/nightly")
    switch = ui.page.get_by_role("switch", name="At 02:00 AM")
    expect(switch).to_be_checked()
    expect(ui.page.get_by_text("02:00:00 AM").first).to_be_visible()
    assert active() == [True]
    ui.screenshot("schedule")
    switch.click()
    eventually(lambda: active() == [False], "paused schedule")
    expect(switch).not_to_be_checked()


def test_a_run_is_cancelled_and_a_copy_of_it_goes_on_where_it_stood(
    house: House, ui: Ui, sample: Sample, tmp_path: Path
) -> None:
    place = Place.below(tmp_path)
    with RecordServer(sample.folder) as server:
        stall = Fault(stall_after=(sample.folder / IMAGES).stat().st_size * 2 // 3)
        server.faults[IMAGES] = [stall, *[replace(stall, stall_after=0)] * 3]
        ui.open_form("prepare/sample")
        ui.field("Source").fill(server.record_url)
        ui.field("Destination").fill(str(place.destination))
        ui.field("Work folder").fill(str(place.work))
        ui.choose("What becomes of the archives", "stream")
        run = ui.submit()
        ui.wait_for_state("Running")
        eventually(lambda: place.files(f"results/{sample.tiles[0]}-*"), "result of the first tile")
        assert server.stalled.wait(60)

        ui.cancel()
        assert house.ended(run, seconds=60)["type"] == "CANCELLED"
        ui.wait_for_state("Cancelled")
        eventually(lambda: not any(RUN in line for line in house.processes().values()), "end of its process")
        kept = {Path(file).name.split("-")[0] for file in place.files("results/S2*")}
        assert sample.tiles[0] in kept
        assert sample.tiles[-1] not in kept
        assert not (place.destination / CARD).exists()

        server.faults.clear()
        ui.copy_to_new_run()
        again = ui.submit()
        ui.wait_for_state("Completed")
    assert again != run
    states = {tile: "Cached" if tile in kept else "Completed" for tile in sample.tiles}
    eventually(lambda: converted(house, again) == states, f"conversions {states}")
    assert require_whole(place.destination)["counts"]["patches"] == sample.patches
