"""The report in a real browser: charts are drawn, choosing works, hover and keys show the numbers, and it prints."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_up_runs import record
from playwright.sync_api import Browser, Page, expect, sync_playwright

from plora.results import RunRecord, estimates, write_record, write_report

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
EVIL = "</script><img src=x onerror=alert(1)>"
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine; .ci/run installs one")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods, two of them with two seeds, and a run that stopped."""
    runs = [record(method, "forgets", seed=seed) for method in ("ewc", "sequential") for seed in (0, 1)]
    return _report(tmp_path_factory.mktemp("several"), [*runs, record("joint", "joint"), record("lwf", complete=False)])


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _report(tmp_path_factory.mktemp("one"), [record()])


def _report(folder: Path, runs: list[RunRecord]) -> Path:
    for number, run in enumerate(runs):
        write_record(folder / "runs" / f"{number}", run)
    write_report([folder / "runs"], folder / "report.html")
    return folder / "report.html"


class Opened:
    """A page of a report; whatever the browser complains about is kept."""

    def __init__(
        self, browser: Browser, file: Path, width: int = 1100, scheme: str = "light", script: bool = True
    ) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
        )
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda asked: asked.url != file.as_uri() and self.complaints.append(asked.url))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(file.as_uri())

    def __enter__(self) -> Page:
        return self.page

    def __exit__(self, *_: object) -> None:
        self.context.close()
        assert self.complaints == []


def lines(page: Page) -> int:
    return page.locator(".interactive[data-group] .chart").nth(0).locator("path.line:not(.faint)").count()


def tip(page: Page) -> str:
    shown = page.locator(".tip:not([hidden])")
    assert shown.count() == 1
    return shown.inner_text()


@pytest.mark.parametrize("width", [380, 800, 1280])
@pytest.mark.parametrize("which", ["one", "several"])
def test_charts_are_drawn_at_three_widths(
    browser: Browser, request: pytest.FixtureRequest, which: str, width: int
) -> None:
    with Opened(browser, request.getfixturevalue(which), width) as page:
        charts = page.locator(".chart svg[role=group]")
        expect(charts).to_have_count(2 if which == "one" else 3)
        for chart in charts.all():
            expect(chart.locator("path.line, path.mark, rect[fill-opacity]")).not_to_have_count(0)
        assert not page.locator("figure.replaced:visible").count()
        for details in page.locator("main details").all():
            details.evaluate("details => { details.open = true; }")
        page.wait_for_timeout(50)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_choosing_runs_tasks_and_metric(browser: Browser, several: Path) -> None:
    with Opened(browser, several) as page:
        assert lines(page) == 3  # the run that stopped is not compared
        page.get_by_label("ewc", exact=True).uncheck()
        assert lines(page) == 2
        assert "3 of 5 runs" in page.locator(".chosen").first.inner_text()
        page.get_by_text("5 single runs").click()
        page.get_by_label("ewc, skills, seed 1", exact=True).check()
        assert lines(page) == 3
        assert page.get_by_label("ewc", exact=True).evaluate("box => box.indeterminate")
        page.locator("fieldset.runs").get_by_role("button", name="none").click()
        assert "Nothing is chosen" in page.locator(".chart").first.inner_text()
        page.locator("fieldset.runs").get_by_role("button", name="all").click()
        assert lines(page) == 3

        tasks = page.locator("fieldset.tasks").first
        tasks.get_by_role("button", name="none").click()
        tasks.get_by_label("2 kind").check()
        assert "1 of 5 tasks: kind" in page.locator(".chosen").first.inner_text()
        matrix = page.locator(".interactive[data-group] .chart").nth(2)
        assert matrix.locator("rect[fill-opacity]").count() == 4

        dots = page.locator(".interactive[data-group] .chart").nth(1)
        page.get_by_label("Metric").select_option("BWT: Backward transfer")
        assert "Backward transfer (BWT), points" in dots.inner_text()
        assert "n/a" in dots.inner_text()  # of joint
        page.get_by_label("Run", exact=True).select_option("joint, skills, seed 0")
        assert matrix.locator("rect[fill-opacity]").count() == 1


def test_hover_and_keys_show_the_numbers_of_the_record(browser: Browser, several: Path) -> None:
    run = record("joint", "joint")
    last = f"{100 * float(run.matrix[-1].mean()):.1f}"
    with Opened(browser, several) as page:
        first = page.locator(".chart svg[role=group]").first
        first.scroll_into_view_if_needed()
        box = first.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] - 175, box["y"] + 60)
        assert "after 5: order" in tip(page)
        assert last in tip(page)
        page.mouse.move(5, 5)
        assert page.locator(".tip:not([hidden])").count() == 0

        page.get_by_label("5 order").focus()
        for _ in range(3):  # over the two buttons of the tasks
            page.keyboard.press("Tab")
        assert first.evaluate("svg => svg === document.activeElement && getComputedStyle(svg).outlineStyle === 'solid'")
        assert "after 5: order" in tip(page)
        page.keyboard.press("Home")
        assert "after 1: library" in tip(page)
        page.keyboard.press("ArrowRight")
        assert "after 2: kind" in tip(page)
        active = page.locator(".tip .active").inner_text()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert page.locator(".tip:not([hidden]) .active").inner_text() != active
        page.keyboard.press("Escape")
        assert page.locator(".tip:not([hidden])").count() == 0


def test_bands_and_tips_are_the_intervals_of_the_statistics(browser: Browser, tmp_path: Path) -> None:
    runs = [record(method, seed=seed) for method in ("ewc", "sequential") for seed in range(3)]
    runs += [record("joint", "joint", seed=seed) for seed in range(3)] + [record("lwf", seed=0)]
    found = estimates(runs)
    with Opened(browser, _report(tmp_path, runs)) as page:
        chart, dots = (page.locator(".interactive[data-group] .chart").nth(number) for number in (0, 1))
        assert chart.locator("path.area").count() == 3
        assert "band: 95 % t interval over 3 seeds" in chart.inner_text()
        chart.locator("svg[role=group]").focus()
        page.keyboard.press("End")
        for label in ("ewc", "sequential", "joint"):
            estimate = found[label]["accuracy"]
            low, high = estimate.interval or (0, 0)
            assert f"{100 * (estimate.mean or 0):.1f} % ({100 * low:.1f} to {100 * high:.1f})" in tip(page)
        page.keyboard.press("Escape")
        dots.locator("svg[role=group]").focus()
        page.keyboard.press("Home")
        low, high = found["ewc"]["accuracy"].interval or (0, 0)
        assert f"{100 * low:.1f} to {100 * high:.1f}" in tip(page)
        page.keyboard.press("Escape")

        page.get_by_text("10 single runs").click()
        page.get_by_label("ewc, skills, seed 1", exact=True).uncheck()
        assert chart.locator("path.area").count() == 2
        assert chart.locator("path.faint").count() == 2  # the runs of ewc that are left
        page.get_by_label("2 kind").uncheck()
        assert chart.locator("path.area").count() == 0
        assert "intervals are of all runs and tasks alone" in chart.inner_text()


def test_keys_move_through_the_matrix_of_one_run(browser: Browser, one: Path) -> None:
    run = record()
    with Opened(browser, one) as page:
        page.get_by_label("5 order").focus()
        for _ in range(3):
            page.keyboard.press("Tab")
        assert "task 1: library" in tip(page)
        assert f"{100 * run.matrix[5, 0]:.1f} %" in tip(page)
        assert f"{100 * (run.matrix[5, 0] - run.matrix[1, 0]):.1f} points".replace("-", "−") in tip(page)
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowRight")
        assert "task 2: kind" in tip(page)
        assert f"{100 * run.matrix[4, 1]:.1f} %" in tip(page)


def test_everything_that_acts_has_a_name(browser: Browser, several: Path) -> None:
    with Opened(browser, several) as page:
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll("button, select, input, svg[tabindex], summary, fieldset")].filter(
                (part) => !(part.getAttribute("aria-label") || part.labels?.[0]?.textContent || part.textContent).trim()
            ).map((part) => part.outerHTML)"""
        )
        assert unnamed == []
        assert len(page.evaluate("[...new Set([...document.querySelectorAll('[id]')].map((part) => part.id))]")) == (
            page.locator("[id]").count()
        )


def test_dark_and_light(browser: Browser, several: Path) -> None:
    def paper(page: Page) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    for scheme, first, other in (("light", 255, 20), ("dark", 20, 255)):
        with Opened(browser, several, scheme=scheme) as page:
            assert f"rgb({first}," in paper(page)
            page.get_by_role("button", name=re.compile("page")).click()
            assert f"rgb({other}," in paper(page)
            page.emulate_media(media="print")
            assert "rgb(255," in paper(page)


def test_print_shows_the_charts_as_chosen_and_no_controls(browser: Browser, several: Path) -> None:
    with Opened(browser, several) as page:
        page.get_by_label("ewc", exact=True).uncheck()
        page.emulate_media(media="print")
        assert lines(page) == 2
        assert page.locator(".chart svg[role=group]:visible").count() == 3
        assert "3 of 5 runs" in page.locator(".chosen:visible").first.inner_text()
        assert not page.locator("button:visible, select:visible, input:visible").count()
        assert page.pdf(format="A4")[:5] == b"%PDF-"


def test_nothing_is_cut_on_paper(browser: Browser, one: Path, several: Path) -> None:
    for file in (one, several):
        with Opened(browser, file, width=680) as page:  # A4 less its margins
            page.emulate_media(media="print")
            assert page.evaluate("document.documentElement.scrollWidth") <= 680


def test_a_run_is_drawn_when_it_is_opened(browser: Browser, several: Path) -> None:
    with Opened(browser, several) as page:
        link = page.locator("a[href^='#run-']").first
        target = str(link.get_attribute("href"))
        assert page.locator(f"{target} .chart").count() == 0
        link.click()
        page.locator(f"{target} .chart svg[role=group]").first.wait_for()
        assert page.locator(f"{target} .chart svg[role=group]:visible").count() == 2


def test_without_scripts_the_pictures_stand(browser: Browser, several: Path, one: Path) -> None:
    for file, pictures in ((several, 1), (one, 2)):
        with Opened(browser, file, script=False) as page:
            assert page.locator("figure.replaced svg:visible").count() == pictures
            assert page.locator(".chart").count() == 0


def test_a_name_cannot_become_markup(browser: Browser, tmp_path: Path) -> None:
    runs = [record(EVIL.replace("/", ""), tasks=[EVIL, "b"], name=EVIL, seed=seed) for seed in range(2)]
    with Opened(browser, _report(tmp_path, runs)) as page:
        assert page.locator("img").count() == 0
        assert page.locator(".chart svg[role=group]").count() == 3
        assert EVIL in page.locator("fieldset.tasks").first.inner_text()


def test_one_task_and_many_tasks(browser: Browser, tmp_path: Path) -> None:
    tasks = [f"task number {number}" for number in range(50)]
    for name, runs in (("single", [record(tasks=["only"])]), ("many", [record(tasks=tasks, seed=s) for s in range(2)])):
        with Opened(browser, _report(tmp_path / name, runs), 800) as page:
            charts = page.locator(".chart svg[role=group]")
            assert charts.count() == (1 if name == "single" else 3)
            for chart in charts.all():
                chart.focus()
                page.keyboard.press("End")
            assert page.evaluate("document.documentElement.scrollWidth") <= 800
