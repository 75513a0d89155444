"""Going through a list of latents, in a browser."""

import re

from playwright.sync_api import Page, expect

from models import Study


def test_a_walk_stays_in_the_list(web: str, study: Study, browser_page: Page) -> None:
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}/latents?q=numbers&sort=firing_rate&order=desc")
    page.locator("tbody th a", has_text="3").click()
    within = page.locator(".within")
    expect(within).to_contain_text("by firing rate, largest first")
    page.locator("#lanes-real").click()
    expect(page).to_have_url(re.compile(r"latents/3\?lanes=real&q=numbers&sort=firing_rate"))
    page.locator("#text").fill("numbers, and nothing else")
    page.get_by_role("button", name="Save and re-simulate").click()
    expect(page.locator("#explanation")).to_contain_text("nothing else")
    page.locator("#history").get_by_role("link", name="restore").first.click()
    expect(page).to_have_url(re.compile(r"\?restore=\d+&q=numbers&sort=firing_rate"))
    expect(within).to_contain_text("by firing rate, largest first")
    page.reload()
    page.locator("a[rel=next]").click()
    expect(page.locator("h1")).to_contain_text("Latent 2")
    expect(within).to_contain_text("by firing rate, largest first")
