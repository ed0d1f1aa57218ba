"""A real browser on the Prefect UI, and what a person does there."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import BrowserContext, Locator, Page, Response, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
DEADLINE_SECONDS = 90
_BUSY = 503
"""The server answers so when two writers meet in its database; a person submits again."""
_FLAGS = [
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the UI asks a server of its maker's
    *(["--no-sandbox"] if os.geteuid() == 0 else []),  # there is none for root
]


@contextmanager
def browsing(home: Path) -> Iterator[BrowserContext]:
    """A browser with an empty profile, and `home` for whatever else it keeps; it ends with the block."""
    environment = {**os.environ, "HOME": str(home)}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS, env=environment)
        try:
            context = browser.new_context(
                viewport={"width": 1280, "height": 900}, timezone_id="UTC", locale="en-US"
            )
            context.set_default_timeout(1000 * DEADLINE_SECONDS)
            expect.set_options(timeout=1000 * DEADLINE_SECONDS)
            yield context
        finally:
            browser.close()


@dataclass(frozen=True, slots=True)
class Ui:
    """A page of the UI of the server at `url`, by what a person clicks and reads."""

    page: Page
    url: str

    def log_in(self, login: str) -> int:
        """Log in from the front page; returns the status of the server's answer."""
        self.page.goto(self.url)
        self.page.get_by_role("textbox").fill(login)
        with self.page.expect_response("**/api/**") as answer:
            self.button("Login").click()
        return answer.value.status

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def field(self, title: str) -> Locator:
        """The field of a form under a title that begins so."""
        return self.page.get_by_label(re.compile(f"^{re.escape(title)}"))

    def open_deployment(self, full_name: str) -> None:
        """Go to a deployment by way of the list of them all."""
        self.page.goto(f"{self.url}/v2/deployments")
        self.page.get_by_role("link", name=full_name.split("/")[1], exact=True).click()
        self.page.get_by_role("tab", name="Configuration").wait_for()

    def open_form(self, full_name: str) -> None:
        """Go to the form of a deployment."""
        self.open_deployment(full_name)
        self.button("Run").click()
        self.page.get_by_role("menuitem", name="Custom run").click()
        self.button("Submit").wait_for()

    def choose(self, title: str, option: str) -> None:
        """Choose one of several."""
        self.button(f"Select {title}").click()
        chosen = self.page.get_by_role("option", name=option, exact=True)
        chosen.click()
        chosen.wait_for(state="detached")  # until then a click elsewhere only closes the list

    def click(self, locator: Locator, path: str) -> Response:
        """Click what asks the API, again if it is busy; returns its answer to the request with that path."""
        for _ in range(4):
            with self.page.expect_response(re.compile(path)) as answer:
                locator.click()
            if answer.value.status != _BUSY:
                break
        assert answer.value.ok, answer.value.text()
        return answer.value

    def submit(self) -> str:
        """Submit the form, and follow the notice to the run's page; returns the run's id."""
        answer = self.click(self.button("Submit"), "/create_flow_run")
        run: str = answer.json()["id"]
        self.page.get_by_role("link", name="View run").click()
        self.page.wait_for_url(f"**/flow-run/{run}*")
        self._wait_for_run_page()
        return run

    def open_run(self, run: str) -> None:
        """Go to a run, or load its page again."""
        self.page.goto(f"{self.url}/v2/runs/flow-run/{run}")
        self._wait_for_run_page()

    def wait_for_state(self, name: str) -> None:
        """Look at a run's page until it shows the state by itself."""
        self.page.locator("main [data-slot=badge]").get_by_text(name, exact=True).first.wait_for()

    def show_line(self, text: str) -> Locator:
        """Scroll the run's log, of which only the lines in sight exist, to a line with a text."""
        log = self.page.get_by_role("log")
        line = log.get_by_text(text)
        log.evaluate("log => log.scrollTo(0, 0)")
        while not line.count() and log.evaluate(
            """async log => {
                const before = log.scrollTop;
                log.scrollBy(0, log.clientHeight / 2);
                await new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)));
                return log.scrollTop !== before;
            }"""
        ):
            pass
        line.first.evaluate("line => { line.scrollIntoView(); scrollTo(0, 0); }")
        return line.first

    def open_artifact(self, key: str) -> None:
        """Go to the artifact of the run whose page this is, and open the one that it made."""
        self.page.get_by_role("tab", name="Artifacts").click()
        self.page.get_by_role("tabpanel").get_by_role("link").filter(has_text=key).click()
        self.page.locator('main a[href*="/artifacts/artifact/"]').first.click()

    def _wait_for_run_page(self) -> None:
        self.page.get_by_role("tab", name="Job Variables").wait_for()  # the URL changes before
