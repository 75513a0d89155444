"""The loop as people walk it: by keys alone, on a phone, in the dark, and two at one latent."""

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Explanation, Study
from tests.reading import latent_of
from tests.rewrites import rewrite
from tests.text_study import text_study


@pytest.fixture
def study(db: Session) -> Study:
    """A study that is simulated and rewritten, and needs no worker to be read."""
    study = text_study(db)
    rewrite(db, study, [latent_of(db, study, index) for index in (0, 1)])
    db.commit()
    return study


# By keys alone

HAS_FOCUS = "(one) => one === document.activeElement"
FOCUS_IS_SEEN = """() => {
  const one = document.activeElement;
  if (one === document.body) return "";
  const style = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  const ringed = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
  const inSight = box.width > 1 && box.bottom > 0 && box.top < innerHeight;
  return ringed && inSight ? "" : one.outerHTML.slice(0, 200);
}"""


def _tab_to(page: Page, wanted: Locator, key: str = "Tab") -> None:
    """Press Tab until this has the focus. Wherever the focus is on the way, it can be seen."""
    expect(wanted).to_be_visible()
    for _ in range(150):
        if wanted.evaluate(HAS_FOCUS):
            return
        page.keyboard.press(key)
        assert not (unseen := page.evaluate(FOCUS_IS_SEEN)), f"focus cannot be seen: {unseen}"
    raise AssertionError(f"{key} does not lead to {wanted}")


def test_by_keys_alone(web: str, study: Study, browser_page: Page) -> None:
    page, keyboard = browser_page, browser_page.keyboard
    rows = page.locator("#latents tbody tr")
    page.goto(f"{web}/studies/{study.slug}/latents")
    keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    keyboard.type("numbers")
    expect(rows).to_have_count(1)
    expect(page.locator("#q")).to_be_focused()
    _tab_to(page, rows.locator("td.text a"))
    keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Latent 0")

    _tab_to(page, page.locator("#errors summary"))
    keyboard.press("Enter")
    _tab_to(page, page.get_by_role("button", name="Add to the edit").first)
    keyboard.press("Enter")
    expect(page.locator("#notes li")).to_have_count(1)

    keyboard.press("e")
    expect(page.locator("#text")).to_be_focused()
    keyboard.press("Control+a")
    keyboard.type("numbers that name a year")
    keyboard.press("Control+Enter")
    expect(page.locator("#edit-feedback")).to_contain_text("Saved.")
    expect(page.locator("#explanation")).to_contain_text("numbers that name a year")
    expect(page.locator("#text")).to_be_focused()
    keyboard.press("Escape")

    _tab_to(page, page.get_by_role("link", name="Back to the list"), "Shift+Tab")
    keyboard.press("Enter")
    expect(page.locator("#q")).to_have_value("numbers")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("numbers that name a year")


# On a phone


def _phone(page: Page) -> None:
    """Nothing is wider than the phone, nor makes its browser zoom out."""
    page.wait_for_load_state("load")
    expect(page.locator("html")).to_have_js_property("scrollWidth", 390)
    assert page.evaluate("[innerWidth, visualViewport.scale]") == [390, 1]


def _tap(one: Locator) -> None:
    """Tap something that a thumb can hit."""
    one.scroll_into_view_if_needed()
    box = one.bounding_box()
    assert box is not None and box["height"] >= 24, f"{one} is {box and box['height']} px high"
    one.tap()


def test_on_a_phone(web: str, study: Study, browser: Browser) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844},
        device_scale_factor=2,
        is_mobile=True,
        has_touch=True,
    )
    page = context.new_page()
    page.goto(f"{web}/studies")
    _phone(page)
    page.locator(f"a[href='/studies/{study.slug}']").first.tap()
    expect(page.locator("#loss-chart svg.marks")).to_be_visible()
    _phone(page)
    _tap(page.locator(".site nav").get_by_role("link", name="Latents"))
    _tap(page.get_by_label("Words in the explanation"))
    page.keyboard.type("numbers")
    rows = page.locator("#latents tbody tr")
    expect(rows).to_have_count(1)
    _phone(page)
    rows.locator("td.text a").tap()
    expect(page.locator("h1")).to_contain_text("Latent 0")
    _phone(page)

    # A finger on a token shows its values.
    page.locator("#examples .t").nth(3).tap()
    expect(page.locator(".tip")).to_contain_text("real")
    _phone(page)
    _tap(page.locator("#errors summary"))
    expect(page.locator("#errors .wrongs li").first).to_be_visible()
    _phone(page)
    _tap(page.locator("#errors").get_by_role("button", name="Add to the edit").first)
    expect(page.locator("#notes li")).to_have_count(1)

    _tap(page.locator("#text"))
    page.keyboard.press("Control+a")
    page.keyboard.type("numbers that name a year")
    _tap(page.get_by_role("button", name="Save and re-simulate"))
    expect(page.locator("#edit-feedback")).to_contain_text("Saved.")
    expect(page.locator("#explanation")).to_contain_text("numbers that name a year")
    _phone(page)
    page.get_by_role("link", name="compare with the one before").tap()
    expect(page.locator("#compared")).to_be_visible()
    _phone(page)
    page.go_back()
    page.get_by_role("link", name="Back to the list").tap()
    expect(rows).to_contain_text("numbers that name a year")
    _phone(page)
    context.close()


# In the dark

CONTRASTS = """(of) => {
  // Colours of any kind are painted on one pixel, one over the other, and read again.
  const pixel = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  function luminance(colours) {
    pixel.globalAlpha = 1;
    for (const [colour, alpha] of colours) {
      pixel.globalAlpha = alpha;
      pixel.fillStyle = colour;
      pixel.fillRect(0, 0, 1, 1);
    }
    const [r, g, b] = [...pixel.getImageData(0, 0, 1, 1).data].map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  return [...document.querySelectorAll(of)].filter((one) => one.textContent.trim()).map((one) => {
    const behind = [];
    let alpha = 1;
    for (let at = one; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      alpha *= style.opacity;
      const painted = style.backgroundImage.match(/(?:color|oklab|rgba?)\\([^()]*\\)/);
      if (painted) behind.unshift([painted[0], 1]);
      behind.unshift([style.backgroundColor, 1]);
    }
    const style = getComputedStyle(one);
    const drawn = one instanceof SVGElement;
    const ink = [drawn ? style.fill : style.color, alpha * (drawn ? style.fillOpacity : 1)];
    const [under, over] = [luminance(behind), luminance([...behind, ink])];
    return {
      text: one.textContent,
      under,
      ratio: (Math.max(under, over) + 0.05) / (Math.min(under, over) + 0.05),
    };
  });
}"""


def _contrasts(page: Page, of: str) -> list[dict[str, Any]]:
    """Of each text: the text, the luminance under it, and how much it stands out (WCAG)."""
    found: list[dict[str, Any]] = page.evaluate(CONTRASTS, of)
    assert found, f"there is no text in {of}"
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_of_charts_and_tokens_stand_out(
    web: str, study: Study, browser_page: Page, scheme: Any
) -> None:
    """What axe cannot see: text that is drawn, and text on the colours of activations."""
    page = browser_page
    page.emulate_media(color_scheme=scheme)
    here = f"{web}/studies/{study.slug}"
    texts = []
    page.goto(here)
    expect(page.locator("#loss-chart svg.marks")).to_be_visible()
    texts += _contrasts(page, "svg.marks text")
    for lanes in ("both", "real", "simulated", "difference"):
        page.goto(f"{here}/latents/0?lanes={lanes}")
        texts += _contrasts(page, "#examples .t")
    page.locator("#agreement-here summary").click()
    expect(page.locator("#confusion-chart svg.marks")).to_be_visible()
    texts += _contrasts(page, "svg.marks text")
    page.goto(f"{here}/latents/0/errors")
    texts += _contrasts(page, ".wrongs .t")
    faint = {one["text"]: round(one["ratio"], 2) for one in texts if one["ratio"] < 4.5}
    assert not faint, faint
    unlit = [one["under"] for one in texts]
    assert len({round(under, 2) for under in unlit}) > 4, "the colours of activations are read"
    assert min(unlit) > 0.2 if scheme == "light" else max(unlit) < 0.25


def test_the_dark_is_another_page_not_an_inverted_one(
    web: str, study: Study, browser_page: Page
) -> None:
    """The page follows the system while it is open, and so do its charts."""
    page = browser_page
    page.goto(f"{web}/studies/{study.slug}")
    expect(page.locator("#loss-chart svg.marks")).to_be_visible()
    colours = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        colours[scheme] = {
            "page": _contrasts(page, "h1")[0]["under"],
            "link": page.locator("main a").first.evaluate("(a) => getComputedStyle(a).color"),
            "axis": page.locator("svg.marks .role-axis-title text").first.evaluate(
                "(text) => getComputedStyle(text).fill"
            ),
            "line": page.locator("svg.marks .mark-line path").first.evaluate(
                "(line) => getComputedStyle(line).stroke"
            ),
        }
    light, dark = colours["light"], colours["dark"]
    assert light["page"] > 0.8 and dark["page"] < 0.05
    assert light["link"] != dark["link"] and light["axis"] != dark["axis"]
    assert light["line"] == dark["line"], "a condition keeps its colour"


# Two at one latent


def test_two_people_at_one_latent(web: str, db: Session, study: Study, browser: Browser) -> None:
    contexts = [browser.new_context() for _ in range(2)]
    ana, ben = (context.new_page() for context in contexts)
    for page in (ana, ben):
        page.goto(f"{web}/studies/{study.slug}/latents/1")
    ana.locator("#text").fill("Congress, says Ana")
    ben.locator("#text").fill("Congress, says Ben")
    ana.locator("#text").press("Control+Enter")
    expect(ana.locator("#edit-feedback")).to_contain_text("Saved.")

    # Ben sees it at once: what Ana wrote, that it is current, and his own text untouched.
    expect(ben.locator("#others")).to_contain_text("saved another version")
    expect(ben.locator("#others ins").last).to_contain_text("Ana")
    expect(ben.locator("#explanation blockquote")).to_have_text("Congress, says Ana")
    expect(ben.locator("#text")).to_have_value("Congress, says Ben")
    ben.reload()
    expect(ben.locator("#unsaved blockquote")).to_have_text("Congress, says Ben")
    ben.get_by_role("button", name="Restore the unsaved text").click()
    expect(ben.locator("#others")).to_contain_text("saved another version")
    ben.get_by_role("button", name="Keep mine").click()
    ben.locator("#text").press("Control+Enter")
    expect(ben.locator("#edit-feedback")).to_contain_text("Saved.")

    # Then Ana sees his, goes on from it, and her half-written text is still offered.
    expect(ana.locator("#explanation blockquote")).to_have_text("Congress, says Ben")
    expect(ana.locator("#others")).to_contain_text("saved another version")
    ana.locator("#text").fill("half a thought of Ana's")
    ana.get_by_role("button", name="Use theirs").click()
    expect(ana.locator("#text")).to_have_value("Congress, says Ben")
    expect(ana.locator("#unsaved blockquote")).to_have_text("half a thought of Ana's")

    # Both save without having seen the other's: both are versions, and the later one says so.
    ana.locator("#text").fill("Congress, says Ana again")
    ben.locator("#text").fill("Congress, says Ben again")
    # Neither is sent before both are on their way: one page would show the other's in between.
    sent: list[Route] = []
    told = "#edit-feedback [data-saved]"  # still of the version before
    before = [page.locator(told).get_attribute("data-saved") or "" for page in (ana, ben)]
    for page in (ana, ben):
        page.route("**/explanations", lambda route: sent.append(route))
        page.evaluate("document.querySelector('#edit').requestSubmit()")
    while len(sent) < 2:
        ana.wait_for_timeout(20)
    for route in sent:
        route.continue_()
    for page, saved in zip((ana, ben), before, strict=True):
        expect(page.locator(told)).not_to_have_attribute("data-saved", saved)
        expect(page.locator("#history > ol > li")).to_have_count(5)
    warned = [page.locator("#edit-feedback .warn").count() for page in (ana, ben)]
    assert sum(warned) == 1
    latent = latent_of(db, study, 1)
    versions = db.scalars(
        select(Explanation).filter_by(latent_id=latent.id).order_by(Explanation.id)
    ).all()
    texts = [version.text for version in versions]
    assert texts[1:3] == ["Congress, says Ana", "Congress, says Ben"]
    assert set(texts[3:]) == {"Congress, says Ana again", "Congress, says Ben again"}
    db.refresh(latent)
    assert latent.explanation_id == versions[-1].id
    for page in (ana, ben):
        expect(page.locator("#explanation blockquote")).to_have_text(re.compile("again$"))
        expect(page.locator("#explanation blockquote")).to_have_text(texts[-1])
    for context in contexts:
        context.close()
