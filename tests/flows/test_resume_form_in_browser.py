"""A person opens the page of a suspended promotion, presses Resume, fills in the form and submits it: in a browser."""

from __future__ import annotations

import pytest

from prefect_ml.entities import RequestStatus

# What somebody called herself: it is shown as it is written, and is neither markup nor a template.
ANN = "ann <img src=x onerror=alert(1)> {{ 7 * 7 }}"
WHY = "better on the slices {{ 7 * 7 }} <b>bold</b>"

MILLISECONDS = 60_000

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


@pytest.fixture
def page(browser_path):
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1280, "height": 1100})
        alerts = []
        shown.set_default_timeout(MILLISECONDS)
        shown.on("dialog", lambda alert: (alerts.append(alert.message), alert.dismiss()))
        yield shown
        browser.close()
    assert alerts == []


def test_the_form_is_filled_in_and_submitted_and_the_alias_moves(world, page, tmp_path):
    from playwright.sync_api import expect

    world.protect("browsed", name="browsed")
    version = world.register("browsed", world.log())
    deployment = world.api.get("/deployments/name/promote-model/promote-model")["id"]
    parameters = {"name": "browsed", "version": version.version, "requester": ANN}
    run_id = world.api.post(f"/deployments/{deployment}/create_flow_run", {"parameters": parameters})["id"]
    world.suspended(run_id)

    page.goto(f"{world.orchestrator.url.removesuffix('/api')}/runs/flow-run/{run_id}")
    page.get_by_role("button", name="Resume").click()
    form = page.get_by_role("dialog")
    expect(form).to_contain_text("Promote browsed version 1 to @champion?")
    expect(form).to_contain_text("passed")
    assert form.locator("img").count() == 0
    decision = form.locator(".schema-form-property", has_text="What shall happen with this version?")
    decision.locator("button.p-select-button__control").focus()
    page.keyboard.press("ArrowDown")
    page.get_by_role("option", name="approve").click()
    form.locator(".schema-form-property", has_text="Who decides").locator("textarea").fill("bob")
    form.locator(".schema-form-property", has_text="needed for a rejection").locator("textarea").fill(WHY)
    page.screenshot(path=tmp_path / "filled-in.png")
    form.get_by_role("button", name="Submit").click()
    expect(form).to_be_hidden()
    world.wait_for(run_id, "Completed")

    request = world.request_of("browsed")
    assert (request.status, request.requester) == (RequestStatus.PROMOTED, ANN)
    [decision] = request.decisions
    assert (decision.actor, decision.approve, decision.reason) == ("bob", True, WHY)
    assert decision.channel == "prefect-ui"
    assert world.store.get_alias("browsed", "champion").version == version.version
    page.reload()
    expect(page.get_by_text("Completed").first).to_be_visible()
    page.screenshot(path=tmp_path / "moved.png")
