"""A live refresh changes what changed and nothing else; a server that is away is told of."""

import re

from playwright.sync_api import Browser, Page, expect
from sqlalchemy.orm import Session

from jobs.events import publish
from models import Score, Study
from tests.browsing import go_offline
from tests.factories import new_explanation
from tests.reading import current_of, headline_point, latent_of


def test_the_list_keeps_what_a_person_did(
    web: str, db: Session, study: Study, browser_page: Page
) -> None:
    page = browser_page
    page.set_viewport_size({"width": 1280, "height": 300})
    page.goto(f"{web}/studies/{study.slug}/latents?sort=correlation&order=desc")
    first = page.locator("#latents tbody tr").first
    index = first.locator("th").inner_text()
    row = page.locator(f"#row-{index}")
    row.get_by_role("checkbox").check()
    page.get_by_label("Put on the list").fill("doubt")
    page.get_by_label("Put on the list").evaluate("e => e.setSelectionRange(1, 3)")
    scrolled = page.evaluate("scrollY")
    assert scrolled > 0
    page.evaluate("document.querySelector('#latents').mark = true")
    new_explanation(db, latent_of(db, study, 3), "quite other words")
    # A better score of another one: what was ticked is no longer the first.
    score = db.query(Score).filter_by(
        explanation_id=current_of(db, study, int(index)).id, name="correlation"
    )
    score.update({"value": -0.9})
    db.commit()
    publish(study.id, "job", 1)
    expect(page.locator("#row-3 td.text")).to_contain_text("quite other words")
    expect(first.locator("th")).not_to_have_text(index)
    expect(row.get_by_role("checkbox")).to_be_checked()
    expect(page.locator("#latents tbody :checked")).to_have_count(1)
    name = page.get_by_label("Put on the list")
    expect(name).to_have_value("doubt")
    expect(name).to_be_focused()
    assert name.evaluate("e => [e.selectionStart, e.selectionEnd]") == [1, 3]
    assert page.evaluate("scrollY") == scrolled
    assert page.evaluate("document.querySelector('#latents').mark")


def test_a_latents_page_keeps_what_is_open(
    web: str, db: Session, study: Study, browser_page: Page
) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/latents/0")
    page.locator("#agreement-here summary").click()
    expect(page.locator("#agreement-here #agreement")).to_be_visible()
    page.locator("#errors summary").click()
    expect(page.locator("#errors .worst")).to_be_visible()
    comment = page.locator("#history details[id^=say-]").first
    comment.locator("summary").click()
    comment.get_by_role("textbox").fill("half a com")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    explanation = current_of(db, study, 0)
    score = db.query(Score).filter_by(explanation_id=explanation.id, name="correlation")
    score.update({"value": 0.123})
    db.commit()
    publish(study.id, "latent", latent_of(db, study, 0).id)
    expect(page.locator("#scores tr.emphasis")).to_contain_text("0.12")
    expect(page.locator("#agreement-here #agreement")).to_be_visible()
    expect(comment.get_by_role("textbox")).to_be_focused()
    expect(comment.get_by_role("textbox")).to_have_value("half a com")
    expect(page.locator("#errors .worst")).to_be_visible()
    page.wait_for_load_state("networkidle")
    for part in ("errors", "agreement"):
        assert any(re.search(rf"/latents/0/{part}", url) for url in asked), (
            "what follows is renewed"
        )


def test_the_chart_is_drawn_again_only_when_its_figures_change(
    web: str, db: Session, study: Study, browser_page: Page
) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}")
    drawn = page.locator("#loss-chart svg.marks")
    expect(drawn).to_be_visible()
    drawn.evaluate("e => { e.mark = true }")
    db.get_one(Study, study.id).seed = 7531
    db.commit()
    publish(study.id, "latents")
    expect(page.locator("#facts")).to_contain_text("7531")
    assert drawn.evaluate("e => e.mark")
    headline_point(db, study).increase = 0.3456
    db.commit()
    publish(study.id, "chart")
    expect(page.locator("#results")).to_contain_text("0.346")
    expect(drawn).to_be_visible()
    page.wait_for_function("!document.querySelector('#loss-chart svg.marks').mark")


def test_a_server_that_is_away_is_told_of(web: str, study: Study, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    here = f"{web}/studies/{study.slug}"
    for address, act in (
        (f"{here}/latents/0", lambda: page.locator("#lanes-real").click()),
        (f"{here}/latents/0", lambda: page.locator("#errors summary").click()),
        (f"{here}/latents", lambda: page.locator("#latents thead a").first.click()),
        (here, lambda: page.get_by_role("link", name="Orderings").click()),
    ):
        page.goto(address)
        expect(page.get_by_role("alert").first).to_be_empty()
        page.evaluate("scrollTo(0, 500)")
        go_offline(page)
        act()
        notice = page.locator("#notice")
        expect(notice).to_contain_text("does not answer")
        expect(notice).to_be_in_viewport()
        context.set_offline(False)
    context.close()
