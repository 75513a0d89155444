"""The list of latents in a browser: the search box and the filters."""

import re

from playwright.sync_api import Page, expect

from models import Study


def test_find_star_and_walk(web: str, study: Study, browser_page: Page) -> None:
    """What a person does: type, star in place, open, go on within the list, come back."""
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/latents")
    page.evaluate("window.loaded = 'once'")
    page.locator("#q").fill("numb")
    expect(page.locator("#latents")).to_contain_text(
        "5 of 6 latents with “numb” in the explanation"
    )
    page.locator("#more-filters summary").click()
    page.get_by_label("Fires on, at least").fill("2")
    page.get_by_label("Fires on, at least").blur()
    expect(page.locator("#latents tbody tr")).to_have_count(4)
    page.get_by_role("link", name="fires on", exact=True).click()
    expect(page.locator("th[aria-sort]")).to_contain_text("fires on")
    expect(page).to_have_url(
        re.compile(r"\?q=numb&firing_rate_min=0.02&sort=firing_rate&order=desc$")
    )
    star = page.get_by_role("button", name="Star latent 3")
    star.click()
    expect(star).to_have_attribute("aria-pressed", "true")
    expect(star).to_have_text("★")
    assert page.evaluate("window.loaded") == "once"
    page.locator("tbody th a", has_text="3").click()
    expect(page.get_by_role("button", name="Star latent 3")).to_have_text("★")
    expect(page.locator(".within")).to_contain_text(
        "firing on ≥ 2% of tokens; by firing rate, largest first"
    )
    expect(page.locator("a[rel=prev]")).to_have_text("← 4")
    page.locator("a[rel=next]").click()
    expect(page.locator("h1")).to_contain_text("Latent 2")
    page.get_by_role("link", name="Back to the list").click()
    expect(page.locator("#latents tbody tr")).to_have_count(4)
    page.get_by_label("Choose latent 1").check()
    page.get_by_label("Put on the list").fill("doubtful")
    page.get_by_role("button", name="the ticked ones").click()
    expect(page.locator("#latents")).to_contain_text("1 of 6 latents on the list “doubtful”")


def test_a_click_right_after_typing_counts(web: str, study: Study, browser_page: Page) -> None:
    """The field that is left then asks for the list too, in the order from before."""
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/latents")
    for order, direction in (("desc", "descending"), ("asc", "ascending")):
        page.get_by_label("Words in the explanation").fill(f"numb{'er' if order == 'asc' else ''}")
        expect(page).to_have_url(re.compile(f"q=numb{'er' if order == 'asc' else '(&|$)'}"))
        page.locator("#latents thead").get_by_role("link", name="fires on").click()
        expect(page.locator("th[aria-sort]")).to_contain_text("fires on")
        expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", direction)
        expect(page).to_have_url(re.compile(f"sort=firing_rate.*order={order}|sort=firing_rate$"))
