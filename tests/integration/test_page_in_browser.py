"""The page of a dataset in a real browser: from a file, from `bigearthnet browse`, and by presigned links."""

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from bigearthnet.options import COUNTRIES, SPLITS
from deployments.browse import make_server
from tests.support import archives
from tests.support.browser import CHROMIUM, browsing
from tests.support.pipeline import prepare
from tests.support.places import BucketPlace
from tests.support.published import FILES, IMAGES_ZIP, INDEX, MASKS_ZIP, PAGE, member, read_card
from tests.support.sample import Sample, make_sample

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no browser at {CHROMIUM}"),
]
Rows = list[dict[str, Any]]


class Watched:
    """A page, the addresses that it asked, and what it wrote to the console."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.said: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))

    def ids(self) -> list[str]:
        """The patches that are shown, when all their pictures are."""
        shown: list[str] = self.page.locator("figure").evaluate_all("all => all.map(one => one.dataset.id)")
        expect(self.page.locator("canvas[data-drawn]")).to_have_count(2 * len(shown))
        return shown

    def pictures(self) -> list[npt.NDArray[np.uint8]]:
        """What the canvases show, as (120, 120, 3): an image and its mask in turn."""
        urls = self.page.locator("canvas").evaluate_all("all => all.map(one => one.toDataURL())")
        shown = [archives.pixels(b64decode(url.partition(",")[2])) for url in urls]
        assert all((one[3] == 255).all() for one in shown)
        return [one[:3].transpose(1, 2, 0) for one in shown]

    def expect_count(self, found: int, of: int) -> None:
        expect(self.page.locator("#count")).to_have_text(f"{found} of {of} patches")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def watched(browser: BrowserContext) -> Iterator[Watched]:
    with browser.new_page() as page:
        yield Watched(page)


@pytest.fixture(scope="module")
def clc_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More patches than one page of them shows, with masks of 16 bits."""
    folder = tmp_path_factory.mktemp("clc")
    record = make_sample(folder / "record", 3, 20, 8)
    prepare(record.folder, folder / "dataset", rendering={"mask_classes": "clc"})
    return folder / "dataset"


@contextmanager
def served(server: ThreadingHTTPServer) -> Iterator[str]:
    with server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:  # a thread that goes on would keep Python from ending
            server.shutdown()
            thread.join()


def manifest(folder: Path) -> Rows:
    rows: Rows = pq.read_table(folder / "manifest.parquet").to_pylist()
    return rows


def values(row: dict[str, Any]) -> set[int]:
    return {entry["value"] for entry in row["class_pixels"]}


def coloured_mask(folder: Path, patch_id: str) -> npt.NDArray[np.uint8]:
    """The mask in the colours of the card, made by GDAL and numpy."""
    palette = np.zeros((65536, 3), np.uint8)
    for entry in read_card(folder)["mask_classes"]:
        palette[entry["value"]] = entry["colour"]
    return palette[archives.pixels(member(folder, "masks", patch_id))[0]]


def image(folder: Path, patch_id: str) -> npt.NDArray[np.uint8]:
    return archives.pixels(member(folder, "images", patch_id)).transpose(1, 2, 0)


def require_right_pictures(watched: Watched, folder: Path, image_error: float = 0) -> list[str]:
    """Compare all that is shown with the zips: the masks to the bit, the images up to a mean difference."""
    ids, pictures = watched.ids(), watched.pictures()
    for patch_id, shown, mask in zip(ids, pictures[::2], pictures[1::2], strict=True):
        assert np.abs(shown.astype(int) - image(folder, patch_id)).mean() <= image_error
        np.testing.assert_array_equal(mask, coloured_mask(folder, patch_id))
    return ids


def test_a_file_shows_its_pairs_and_filters_them(watched: Watched, published_sample: Path) -> None:
    rows, page = manifest(published_sample), watched.page
    address = (published_sample / PAGE).as_uri()
    page.goto(address)
    assert require_right_pictures(watched, published_sample, 6) == [row["patch_id"] for row in rows]
    watched.expect_count(24, 24)
    expect(page.locator("#browse")).to_be_hidden()

    def chosen(wanted: Callable[[dict[str, Any]], bool]) -> None:
        ids = [row["patch_id"] for row in rows if wanted(row)]
        assert 0 < len(ids) < 24
        watched.expect_count(len(ids), 24)
        assert require_right_pictures(watched, published_sample, 6) == ids
        page.get_by_role("button", name="Show all").click()
        watched.expect_count(24, 24)

    page.locator("#class").select_option("Inland waters")
    chosen(lambda row: 17 in values(row))
    page.locator("#split").select_option(str(1 + SPLITS.index("test")))
    chosen(lambda row: row["split"] == "test")
    page.locator("#country").select_option(str(1 + COUNTRIES.index("Portugal")))
    page.locator("#split").select_option(str(1 + SPLITS.index("train")))
    chosen(lambda row: row["country"] == "Portugal" and row["split"] == "train")
    page.get_by_label("Patch, tile or date").fill(rows[7]["patch_id"].lower()[-15:])
    chosen(lambda row: row["patch_id"].endswith(rows[7]["patch_id"][-15:]))
    outline = page.locator("#map").get_by_role("button", name=rows[-1]["tile"])
    outline.focus()
    outline.press("Enter")
    chosen(lambda row: row["tile"] == rows[-1]["tile"])
    page.locator("#classes").get_by_role("button", name="Mixed forest").click()
    chosen(lambda row: 10 in values(row))
    assert (watched.asked, watched.said) == ([address], [])


def test_shares_and_keys_are_those_of_the_card(watched: Watched, published_sample: Path) -> None:
    card = read_card(published_sample)
    watched.page.goto((published_sample / PAGE).as_uri())
    lines = watched.page.locator("#classes tbody tr").evaluate_all(
        "all => all.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )
    parts = [split for split in ("train", "validation", "test") if card["counts"]["splits"].get(split)]
    total = {part: 14_400 * card["counts"]["splits"][part] for part in parts}
    assert lines == [
        [
            f"{one['value']} {one['name']}",
            *(f"{100 * one['pixels'][part] / total[part]:.2f} %" for part in parts),
        ]
        for one in card["mask_classes"]
        if one["pixels"]["all"]
    ]
    countries = watched.page.locator("#countries li").all_inner_texts()
    assert countries == sorted({row["country"] for row in manifest(published_sample)})


def test_browse_reads_any_patch_from_the_zips(watched: Watched, clc_sample: Path) -> None:
    rows, page = manifest(clc_sample), watched.page
    ids = [row["patch_id"] for row in rows]
    with served(make_server(str(clc_sample), 0)) as url:
        page.goto(url)
        watched.ids()
        asked = {urlsplit(address).path.removeprefix("/") for address in watched.asked}
        assert asked <= {"", PAGE}, "the index is read when it is wanted"
        page.get_by_role("button", name="Browse all 31 patches").click()
        watched.expect_count(31, 31)
        expect(page.locator("figure")).to_have_count(24)
        assert require_right_pictures(watched, clc_sample) == ids[:24]
        page.get_by_role("button", name="Next").click()
        expect(page.locator("figure")).to_have_count(7)
        assert require_right_pictures(watched, clc_sample) == ids[24:]
        page.get_by_label("Page", exact=True).fill("1")
        page.get_by_label("Page", exact=True).press("Enter")
        expect(page.locator("figure")).to_have_count(24)
        page.get_by_label("Patch, tile or date").fill(ids[28])
        watched.expect_count(1, 31)
        assert require_right_pictures(watched, clc_sample) == [ids[28]]
        page.get_by_role("button", name="Show all").click()
        page.locator("#map").get_by_role("button", name=rows[0]["tile"]).click()
        watched.expect_count(3, 31)
        assert require_right_pictures(watched, clc_sample) == ids[:3]
        page.get_by_role("button", name="Show all").click()
        page.locator("#class").select_option("Sea and ocean")
        watched.expect_count(sum(523 in values(row) for row in rows), 31)
        assert require_right_pictures(watched, clc_sample) == [
            row["patch_id"] for row in rows if 523 in values(row)
        ]
        assert all(address.startswith(url) for address in watched.asked)
        assert {urlsplit(address).path.removeprefix("/") for address in watched.asked} == {
            *("", PAGE, INDEX, IMAGES_ZIP, MASKS_ZIP)
        }
    assert watched.said == []


def test_a_narrow_window_shows_all_without_scrolling_sideways(
    watched: Watched, published_sample: Path
) -> None:
    watched.page.set_viewport_size({"width": 390, "height": 800})
    watched.page.goto((published_sample / PAGE).as_uri())
    watched.ids()
    for element in (":root", ".wide"):
        sizes = watched.page.locator(element).evaluate("one => [one.scrollWidth, one.clientWidth]")
        assert sizes[0] <= sizes[1], element


def test_text_of_others_is_shown_as_text(watched: Watched, published_sample: Path, tmp_path: Path) -> None:
    page, text = (
        (published_sample / PAGE).read_text(),
        '</script><img src="https://127.0.0.1:9/x" onerror="alert(1)">',
    )
    before, _, rest = page.partition('"name":"Urban fabric"')
    escaped = json.dumps(text).replace("<", "\\u003c")  # as the page escapes all that it holds
    (tmp_path / PAGE).write_text(f'{before}"name":{escaped}{rest}')
    watched.page.goto((tmp_path / PAGE).as_uri())
    watched.ids()
    expect(watched.page.get_by_role("button", name=text)).to_be_visible()
    assert (len(watched.asked), watched.said) == (1, [])


def test_a_server_without_ranges_or_files_is_named(
    watched: Watched, published_sample: Path, tmp_path: Path
) -> None:
    class Whole(SimpleHTTPRequestHandler):
        """What `python -m http.server` answers with: always the whole file."""

        def log_message(self, *_: Any) -> None:
            pass

    page, where = watched.page, watched.page.locator("#where")
    with served(ThreadingHTTPServer(("127.0.0.1", 0), partial(Whole, directory=published_sample))) as url:
        page.goto(url + PAGE)
        page.get_by_role("button", name="Browse all").click()
        expect(where).to_contain_text("the server does not send ranges of bigearthnet_")
    (tmp_path / PAGE).write_bytes((published_sample / PAGE).read_bytes())
    with served(ThreadingHTTPServer(("127.0.0.1", 0), partial(Whole, directory=tmp_path))) as url:
        page.goto(url + PAGE)
        page.get_by_role("button", name="Browse all").click()
        expect(where).to_contain_text(
            f"the server answered 404 for {INDEX}. They have to be beside this page"
        )
        expect(page.get_by_label("Links to browse.bin")).to_be_visible()
        assert require_right_pictures(watched, published_sample, 6), "its own pairs stay"


def test_presigned_links_of_a_bucket_are_enough(
    watched: Watched, bucket: BucketPlace, published_sample: Path, sample: Sample
) -> None:
    store, page = bucket.open(), watched.page
    for name in sorted(FILES):
        store.upload(published_sample / name, name)
    links = {name: store.presign(name, 10, "") for name in (PAGE, INDEX, IMAGES_ZIP, MASKS_ZIP)}
    page.goto(links[PAGE])
    watched.ids()
    page.get_by_text("Use presigned links").click()
    page.get_by_label("Links to browse.bin").fill(
        "".join(f"# {name}\n{url}\n" for name, url in links.items())
    )
    page.get_by_role("button", name="Browse all").click()
    expect(page.locator("#where")).to_have_text("Patches are read from the zips.")
    assert len(require_right_pictures(watched, published_sample)) == sample.patches
    assert set(watched.asked) == set(links.values())
    assert watched.said == []
