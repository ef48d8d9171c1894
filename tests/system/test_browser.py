"""The Prefect UI in a real browser: forms, a run started by its button, what runs show, a retry, a leaderboard.

`pytest tests/system/test_browser.py --screenshots` writes the pictures of docs/ui.md again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.conftest import CHROMIUM, ROOT, wait_until
from tests.system.studio import Studio
from tests.system.test_studio import killed, sweep, train, went_on

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.server, pytest.mark.isaaclab, pytest.mark.browser]

PICTURES = ROOT / "docs/images"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOADS_WITHIN_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser, studio: Studio) -> Iterator[Page]:
    """A page whose every request stays on this machine."""
    opened = browser.new_page(viewport={"width": 1280, "height": 860}, base_url=studio.url)
    opened.set_default_timeout(LOADS_WITHIN_MS)
    outside: list[str] = []
    opened.on(
        "request", lambda r: outside.append(r.url) if not r.url.startswith((studio.url, "data:", "blob:")) else None
    )
    yield opened
    opened.close()
    assert not outside, "the UI asked the internet for something"


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Path | None:
    """Where to put a screenshot, or None unless they are asked for."""
    return PICTURES if request.config.getoption("--screenshots") else None


def take(page: Page, folder: Path | None, name: str) -> None:
    if folder is not None:
        page.wait_for_timeout(4_000)  # drawings on a canvas are no elements that could be waited for
        folder.mkdir(exist_ok=True)
        page.screenshot(path=folder / f"{name}.png")


def open_artifact(page: Page, studio: Studio, run_id: str, key: str) -> None:
    artifact = studio.artifacts(run_id)[key]
    page.goto(f"/artifacts/artifact/{artifact['id']}")
    page.get_by_text(artifact["description"]).first.wait_for()


def test_deployments_are_listed_with_their_forms(page: Page, studio: Studio, picture: Path | None) -> None:
    page.goto("/deployments")
    for name in ("isaaclab-training", "isaaclab-evaluation", "evaluation-sweep", "handle-error", "clean-up"):
        page.get_by_text(name, exact=True).first.wait_for()
    take(page, picture, "deployments")
    for deployment, helps in (
        ("train/isaaclab-training", ["The task of Isaac Lab to train.", "Iterations from one checkpoint to the next."]),
        ("evaluate/isaaclab-evaluation", ["The video.", "Steps after which a round ends"]),
        ("evaluation-sweep/evaluation-sweep", ["What the leaderboard ranks by.", "Most jobs at a time."]),
    ):
        found = studio.call("GET", f"/deployments/name/{deployment}")
        page.goto(f"/deployments/deployment/{found['id']}/run")
        for text in helps:
            page.get_by_text(text).first.wait_for()
        take(page, picture, f"form-{found['name']}")


def test_a_training_started_by_the_forms_button_ends_completed(
    page: Page, studio: Studio, picture: Path | None
) -> None:
    deployment = studio.call("GET", "/deployments/name/train/isaaclab-training")
    page.goto(f"/deployments/deployment/{deployment['id']}/run")
    numbers = page.locator("input[type=number]")
    numbers.nth(3).wait_for()
    for position, value in enumerate(("16", "8", "7", "2")):  # environments, iterations, seed, checkpoint interval
        numbers.nth(position).fill(value)
    page.get_by_role("button", name="Submit").click()
    runs: list[dict[str, object]] = []

    def started() -> bool:
        body = {"deployments": {"id": {"any_": [deployment["id"]]}}, "sort": "EXPECTED_START_TIME_DESC"}
        runs[:] = [
            run
            for run in studio.call("POST", "/flow_runs/filter", body)
            if run["parameters"].get("seed") == 7 and run["parameters"].get("num_envs") == 16
        ]
        return bool(runs)

    wait_until("the run of the form", started, seconds=120)
    run_id = str(runs[0]["id"])
    assert studio.wait(run_id)["state_type"] == "COMPLETED", studio.logs()
    studio.trained.insert(0, run_id)
    page.goto(f"/runs/flow-run/{run_id}")
    page.get_by_text("Completed").first.wait_for()
    take(page, picture, "run")


def test_progress_image_and_tables_of_a_training_show(page: Page, studio: Studio, picture: Path | None) -> None:
    run_id = train(studio)
    page.goto(f"/runs/flow-run/{run_id}")
    page.get_by_text("Artifacts", exact=True).last.click()
    for key in ("progress", "summary", "learning-curve", "results", "outputs"):
        page.get_by_text(f"{key}-{run_id[:8]}").first.wait_for()
    page.mouse.wheel(0, 600)
    take(page, picture, "run-artifacts")
    open_artifact(page, studio, run_id, "summary")
    page.get_by_text("machine", exact=True).first.wait_for()
    take(page, picture, "artifact-summary")
    open_artifact(page, studio, run_id, "learning-curve")
    image = page.locator("img[src^='data:image/png']").first
    image.wait_for()
    assert image.evaluate("i => i.complete && i.naturalWidth > 100")
    take(page, picture, "artifact-learning-curve")
    open_artifact(page, studio, run_id, "results")
    page.get_by_text("final reward").first.wait_for()
    take(page, picture, "artifact-results")


def test_the_retry_button_of_a_failed_run_goes_on(page: Page, studio: Studio, picture: Path | None) -> None:
    run_id = killed(studio, 20)
    page.goto(f"/runs/flow-run/{run_id}")
    page.get_by_text("Failed").first.wait_for()
    take(page, picture, "run-failed")
    page.get_by_role("button", name="Retry").first.click()
    page.get_by_role("button", name="Retry").last.click()
    went_on(studio, run_id, 20)


def test_a_sweeps_leaderboard_shows(page: Page, studio: Studio, picture: Path | None) -> None:
    run_id = sweep(studio)
    open_artifact(page, studio, run_id, "leaderboard-nightly")
    page.get_by_text("Leaderboard of Nightly").first.wait_for()
    page.get_by_text("vs best").first.wait_for()
    take(page, picture, "sweep-leaderboard")
    open_artifact(page, studio, run_id, "iterations-isaac-cartpole-direct-nightly")
    page.locator("img[src^='data:image/png']").first.wait_for()
    take(page, picture, "sweep-iterations")
