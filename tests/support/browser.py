"""Headless Chromium for tests of pages, and what went wrong in it: errors, requests, faults of accessibility."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.requirements import require

HOW = "apt-get install chromium; pip install 'pyfnn[test]'"
PHONE, LAPTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
_PATIENCE = 180_000  # milliseconds


@dataclass
class Opened:
    """A page in the browser, with the errors and the requests since it was opened."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a browser; skip the test, or fail where PYFNN_REQUIRE requires chromium, if there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    here = [importlib.util.find_spec(name) for name in ("playwright", "axe_playwright_python")]
    require("chromium", program is not None and all(here), HOW)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"], timeout=_PATIENCE
        )
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, path: Path, **options: Any) -> Iterator[Opened]:
    """Yield a page of a file in a context of its own; options are those of playwright's `new_context`."""
    context = browser.new_context(viewport=options.pop("viewport", LAPTOP), accept_downloads=True, **options)
    context.set_default_timeout(_PATIENCE)
    found = Opened(context.new_page())
    found.page.on("console", lambda message: found.errors.append(message.text) if message.type == "error" else None)
    found.page.on("pageerror", lambda error: found.errors.append(str(error)))
    found.page.on("dialog", lambda dialog: found.errors.append(f"dialog {dialog.message}"))
    found.page.on("request", lambda request: found.requests.append(request.url))
    found.page.goto(path.resolve().as_uri())
    yield found
    context.close()


def accessibility_faults(page: Any) -> list[str]:
    """Return the faults that axe-core finds by the rules of WCAG 2.2, levels A and AA."""
    from axe_playwright_python.base import AXE_FILE_PATH

    page.evaluate(Path(AXE_FILE_PATH).read_text(encoding="utf-8"))
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = page.evaluate("(tags) => axe.run({runOnly: {type: 'tag', values: tags}})", tags)
    assert found["passes"]
    return [
        f"{fault['id']}: {node['target']} {node['failureSummary']}"
        for fault in found["violations"]
        for node in fault["nodes"]
    ]
