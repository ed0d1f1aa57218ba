"""A real browser on the Prefect UI, and what a person does there."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Locator, Page, Response, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
DEADLINE_SECONDS = 90
WIDTH, HEIGHT = 1280, 900
_BUSY = 503
"""The server answers so when two writers meet in its database; a person submits again."""
_BUSY_TRIES = 3
_FLAGS = [
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the UI asks a server of its maker's
    *(["--no-sandbox"] if os.geteuid() == 0 else []),  # there is none for root
]


@contextmanager
def browsing(home: Path) -> Iterator[BrowserContext]:
    """A browser with an empty profile, and `home` for whatever else it keeps; it ends with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=_FLAGS, env={**os.environ, "HOME": str(home)}
        )
        try:
            context = browser.new_context(
                viewport={"width": WIDTH, "height": HEIGHT}, timezone_id="UTC", locale="en-US"
            )
            context.set_default_timeout(1000 * DEADLINE_SECONDS)
            expect.set_options(timeout=1000 * DEADLINE_SECONDS)
            yield context
        finally:
            browser.close()


@dataclass(frozen=True, slots=True)
class Ui:
    """A page of the UI that the server at `url` gives, by what a person clicks and reads."""

    page: Page
    url: str

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def field(self, title: str) -> Locator:
        """The field of a form under a title that begins so."""
        return self.page.get_by_label(re.compile(f"^{re.escape(title)}"))

    def open_deployment(self, full_name: str) -> None:
        """Go to a deployment by way of the list of them all."""
        flow, name = full_name.split("/")
        self.page.goto(f"{self.url}/v2/deployments")
        of_flow = self.page.get_by_role("link", name=flow, exact=True)
        row = self.page.get_by_role("row").filter(has=of_flow)
        row.get_by_role("link", name=name, exact=True).click()
        self.page.get_by_role("tab", name="Configuration").wait_for()

    def open_form(self, full_name: str) -> None:
        """Go to the form of a deployment."""
        self.open_deployment(full_name)
        self.button("Run").click()
        self.page.get_by_role("menuitem", name="Custom run").click()
        self.field("Block of AWS credentials").wait_for()

    def choose(self, title: str, option: str) -> None:
        """Choose one of several."""
        self.button(f"Select {title}").click()
        chosen = self.page.get_by_role("option", name=option, exact=True)
        chosen.click()
        chosen.wait_for(state="detached")  # until then a click elsewhere only closes the list

    def submit(self) -> str:
        """Submit the form, and follow the notice to the run's page; returns the run's id."""
        answer = self._submit_once()
        for _ in range(_BUSY_TRIES):
            if answer.status != _BUSY:
                break
            answer = self._submit_once()
        assert answer.ok, answer.text()
        run: str = answer.json()["id"]
        self.page.get_by_role("link", name="View run").click()
        self.page.wait_for_url(f"**/flow-run/{run}*")
        self._wait_for_run_page()
        return run

    def open_run(self, run: str) -> None:
        """Go to a run, or look at its page anew."""
        self.page.goto(f"{self.url}/v2/runs/flow-run/{run}")
        self._wait_for_run_page()

    def wait_for_state(self, name: str) -> None:
        """Look at a run's page until it says so by itself."""
        badge = self.page.locator("main [data-slot=badge]").get_by_text(name, exact=True)
        badge.first.wait_for()

    def cancel(self) -> None:
        """Cancel the run whose page this is."""
        self.button("Open menu").click()
        self.page.get_by_role("menuitem", name="Cancel", exact=True).click()
        dialog = self.page.get_by_role("alertdialog")
        dialog.get_by_role("button", name="Cancel Flow Run", exact=True).click()
        dialog.wait_for(state="detached")

    def copy_to_new_run(self) -> None:
        """Go to a form that is filled in as that of the run whose page this is."""
        self.button("Open menu").click()
        self.page.get_by_role("menuitem", name="Copy to new run").click()
        self.field("Block of AWS credentials").wait_for()

    def log(self) -> str:
        """What can be read in the log of the run whose page this is: it shows but the lines in sight."""
        log = self.page.get_by_role("log")
        log.wait_for()
        seen: dict[str, None] = {}
        at_end = False
        log.evaluate("log => log.scrollTo(0, 0)")
        while not at_end:
            seen |= dict.fromkeys(log.get_by_role("listitem").all_inner_texts())
            at_end = self._scroll(log)
        return "\n".join(seen)

    def show_line(self, text: str) -> Locator:
        """Scroll the log to its first line with a text, and the page to its top."""
        log = self.page.get_by_role("log")
        log.evaluate("log => log.scrollTo(0, 0)")
        while not log.get_by_text(text).count() and not self._scroll(log):
            pass
        line = log.get_by_text(text).first
        line.evaluate("line => { line.scrollIntoView(); scrollTo(0, 0); }")
        return line

    def open_artifact(self, key: str) -> None:
        """Go to the artifact of the run whose page this is, and open the one that it made."""
        self.page.get_by_role("tab", name="Artifacts").click()
        self.page.get_by_role("tabpanel").get_by_role("link").filter(has_text=key).click()
        self.page.locator('main a[href*="/artifacts/artifact/"]').first.click()

    def picture(self) -> tuple[str, int]:
        """Source of the page's picture, and how many pixels wide the browser finds it."""
        picture = self.page.locator("main img[alt]")
        picture.wait_for()
        found: dict[str, Any] = picture.evaluate(
            "async img => { await img.decode(); return {src: img.src, width: img.naturalWidth}; }"
        )
        return found["src"], found["width"]

    def screenshot(self, name: str) -> None:
        """Keep what is to be seen, if the variable SCREENSHOTS names a folder for it."""
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            self.page.screenshot(path=Path(folder) / f"{name}.png", animations="disabled")

    def _submit_once(self) -> Response:
        with self.page.expect_response(re.compile("/create_flow_run$")) as answer:
            self.button("Submit").click()
        return answer.value

    def _wait_for_run_page(self) -> None:
        self.page.get_by_role("tab", name="Job Variables").wait_for()

    def _scroll(self, log: Locator) -> bool:
        """Scroll the log by half of what is in sight, and let it be drawn; says whether it was at its end."""
        at_end: bool = log.evaluate(
            """async log => {
                const before = log.scrollTop;
                log.scrollBy(0, log.clientHeight / 2);
                await new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)));
                return log.scrollTop === before;
            }"""
        )
        return at_end
