"""The page in a browser: it sorts, searches, folds, stays as narrow as a phone, and asks for nothing else."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from html_pages import Page
from report_examples import full_report, large_report

from prunecli.report import html
from prunecli.report.html.page import page

FLAGS = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync",
)  # fmt: skip
BROWSER, DRIVER = which("chromium"), which("chromedriver")


def test_the_policy_is_that_of_this_style_and_this_script() -> None:
    found = Page(page("title", "network", "", []))
    policy = next(attrs["content"] for tag, attrs in found.tags if attrs.get("http-equiv"))
    for kind in ("style", "script"):
        digest = b64encode(sha256(found.raw[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_a_title_is_text() -> None:
    text = page("<b>", "<i>", "", [])
    assert text.count("&lt;b&gt;") == 2
    assert "&lt;i&gt;" in text


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if BROWSER is None or DRIVER is None:
        pytest.skip("no chromium and chromedriver are installed")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def opened(browser: Any, text: str, folder: Path, width: int = 1200, dark: bool = False) -> Any:
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.get(path.as_uri())
    return browser


def column(browser: Any, at: str, title: str) -> list[str]:
    """The cells of the rows that are to be seen, by the pointer of the table and that of the column."""
    script = """
        const table = document.querySelector(`table[data-at="${arguments[0]}"]`);
        const head = table.querySelector(`th[data-at="${arguments[1]}"]`);
        return [...table.tBodies[0].rows].filter(row => !row.hidden)
            .map(row => row.cells[head.dataset.col].textContent);"""
    found: list[str] = browser.execute_script(script, at, title)
    return found


def test_a_click_sorts_a_search_filters_and_nothing_complains(browser: Any, tmp_path: Path) -> None:
    report = large_report(100, 80)
    by_macs = sorted(report.layers, key=lambda row: -row.macs_after)
    names = [row.name for row in report.layers]
    driver = opened(browser, html.result(report), tmp_path)
    fold = driver.find_element("css selector", "#layers details")
    assert fold.get_attribute("open") is None
    fold.find_element("css selector", "summary").click()
    assert fold.get_attribute("open") is not None
    head = fold.find_element("css selector", "th[data-at=macs_after]")
    head.find_element("css selector", "button").click()
    assert head.get_attribute("aria-sort") == "descending"
    largest = [f"{row.macs_after}" for row in by_macs]
    cells = driver.execute_script(
        "return [...document.querySelectorAll('#layers tbody tr')].map(row => row.cells[9].dataset.v)"
    )
    assert cells == largest
    head.find_element("css selector", "button").send_keys("\n")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(driver, "/layers", "name")[0] == by_macs[-1].name
    head.find_element("css selector", "button").send_keys("\n")
    assert head.get_attribute("aria-sort") is None
    assert column(driver, "/layers", "name") == names
    by_name = fold.find_element("css selector", "th[data-at=name] button")
    by_name.click()
    assert column(driver, "/layers", "name")[:3] == ["layer1.0.conv1", "layer1.1.conv2", "layer1.2.conv3"]
    search = fold.find_element("css selector", "input[type=search]")
    search.send_keys(".CONV2 layer1.1")
    wanted = [name for name in names if ".conv2" in name and "layer1.1" in name]
    assert column(driver, "/layers", "name") == wanted
    assert fold.find_element("css selector", "output").text == f"{len(wanted)} of 100 rows"
    assert driver.get_log("browser") == []


def test_it_is_no_wider_than_a_phone_and_dark_where_asked(browser: Any, tmp_path: Path) -> None:
    text = html.result(full_report())
    for width in (360, 1200):
        colours = set()
        for dark in (False, True):
            driver = opened(browser, text, tmp_path, width, dark)
            across = driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
            assert across[0] <= width == across[1]
            script = "const look = getComputedStyle(document.body); return [look.color, look.backgroundColor]"
            ink, paper = (luminance(colour) for colour in driver.execute_script(script))
            assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) > 7
            assert (paper < ink) == dark
            colours.add(paper)
        assert len(colours) == 2
    assert driver.get_log("browser") == []


def test_without_scripts_everything_is_there_and_no_control_is_dead(browser: Any, tmp_path: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver = opened(browser, html.result(large_report(20, 10)), tmp_path)
        rows = driver.find_elements("css selector", "#layers tbody tr")
        assert len(rows) == 20
        assert rows[-1].is_displayed()
        dead = driver.find_elements("css selector", "button, input")
        assert not any(each.is_displayed() for each in dead)
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2) of ``rgb(r, g, b)``."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
