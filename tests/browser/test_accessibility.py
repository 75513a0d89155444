"""What axe-core finds wrong with each page, light and dark, wide and narrow: nothing serious.

No page scrolls sideways either. A page that is not looked at here fails a test.
"""

from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, TimeoutError
from sqlalchemy.orm import Session
from starlette.routing import compile_path

from models import Job, JobEvent, LatentList, LatentListItem, Sentence, Study
from models.database import new_session
from tests import REPOSITORY
from tests.estimates import attribution, error_budget
from tests.factories import check, commented, generation, language_test, new_explanation
from tests.reading import current_of, latent_of
from tests.rewrites import rewrite
from tests.routes import page_routes
from tests.text_study import text_study

AXE = (REPOSITORY / "tests" / "vendor" / "axe.min.js").read_text()
GRAVE = ("serious", "critical")
COLOURS = ["color-contrast", "link-in-text-block"]
"""Rules that look at colours. All others see no difference between light and dark."""
LOOKS: tuple[tuple[int, Any, list[str]], ...] = (
    (1280, "light", []),
    (1280, "dark", COLOURS),
    (390, "dark", []),
    (390, "light", COLOURS),
)
"""Each width and colour scheme, and the rules to run; all of them where none is named."""
NO_PAGES = {
    "/": "goes on to /studies",
    "/events": "a stream",
    "/studies/{slug}/events": "a stream",
    "/studies/{slug}/figures.csv": "a file",
    "/studies/{slug}/budget.csv": "a file",
    "/studies/{slug}/latents/random": "goes on to a latent",
    "/studies/{slug}/latents/{index}/others": "a part of a latent's page",
    "/studies/{slug}/latents/{index}/examples": "a part of a latent's page",
    "/jobs/now": "a part of every page",
}
"""What a browser fetches, and is no page."""

LONG_NAME = "every_state_of_the_union_address_from_1790_to_2020_as_spoken"
"""Without a space to break it at."""


def everything(session: Session) -> dict[str, str]:
    """A study with something on every page.

    Returns:
        The address of each page, by what it is.
    """
    study = text_study(session)
    study.title = f"Layer 15 on {LONG_NAME}"
    here = f"/studies/{study.slug}"
    explained = [latent_of(session, study, index) for index in (0, 1)]
    first = rewrite(session, study, explained)
    commented(session, explained[1])
    current = current_of(session, study, 1)
    text = "the legislature, and what it votes on"
    reworded = new_explanation(session, latent_of(session, study, 1), text)
    second = rewrite(session, study, [latent_of(session, study, i) for i in (0, 1)], parent=first)
    starred = LatentList(study_id=study.id, name="starred", created_by="ana")
    named = LatentList(study_id=study.id, name="to reword", created_by="ana")
    session.add_all([starred, named])
    session.flush()
    session.add(LatentListItem(list_id=starred.id, latent_id=explained[0].id, created_by="ana"))
    language_test(session, study)
    error_budget(session, attribution(session, study, explained))
    check(session, study, identity="passed", bookkeeping="failed", seeds="skipped")
    made = generation(session, study, explained)
    sentence = _sentence(session, study)
    failed = Job(
        study_id=study.id,
        kind="simulate",
        status="failed",
        done=3,
        total=8,
        unit="batches",
        message=f"ValueError: {LONG_NAME} is no list",
        created_by=LONG_NAME,
    )
    imported = Job(
        study_id=study.id,
        kind="explain",
        params={"method": "file", "path": "/nowhere/words.jsonl"},
        status="finished",
        created_by="ana",
    )
    session.add_all([failed, imported])
    session.flush()
    session.add(JobEvent(job_id=failed.id, text=failed.message))
    session.commit()
    a_latent, dead, old = f"{here}/latents/0", f"{here}/latents/2", f"{here}/latents/1"
    return {
        "patterns": "/patterns",
        "api": "/api",
        "simulators of a study": f"/simulators?study={study.slug}",
        "studies": "/studies",
        "new study": "/studies/new",
        "new study like this": f"/studies/new?like={study.slug}",
        "edit": f"{here}/edit",
        "delete a rewrite": f"{here}/rewrites/{second.id}/delete",
        "take an import back": f"/jobs/{imported.id}/takeback",
        "delete": f"{here}/delete",
        "delete a simulator": f"/simulators/{study.simulator_id}/delete",
        "simulators": "/simulators",
        "all jobs": "/jobs",
        "an error": f"{here}/latents/5000",
        "overview": here,
        "overview, paper": f"{here}?protocol=paper",
        "overview, orderings": f"{here}?view=orderings",
        "latents": f"{here}/latents",
        "latents, filtered": f"{here}/latents?simulated=true&firing_rate_min=0",
        "latents, sorted": f"{here}/latents?sort=correlation&order=desc&show=loss_effect",
        "latents, none": f"{here}/latents?q=nothing+says+this",
        "lists": f"{here}/lists",
        "latent": a_latent,
        "latent, quantiles": f"{a_latent}?examples=interval",
        "latent, random": f"{a_latent}?examples=random",
        "latent, hard negatives": f"{a_latent}?examples=hard_negative",
        "latent, difference": f"{a_latent}?lanes=difference&text=full&breaks=true",
        "latent, within": f"{a_latent}?on_list=starred",
        "latent, sentence": f"{a_latent}?sentence={sentence.id}",
        "latent with history": old,
        "latent, dead": dead,
        "agreement": f"{a_latent}/agreement",
        "similar": f"{a_latent}/similar",
        "errors": f"{a_latent}/errors",
        "prompts": f"{a_latent}/prompts",
        "compare": f"{old}/compare?a={current.id}&b={reworded.id}",
        "latent, commented": f"{here}/latents/1?version={current.id}",
        "try": f"{here}/try",
        "sentence": f"{here}/sentences/{sentence.id}",
        "generate": f"{here}/generate",
        "generation": f"{here}/generations/{made.id}",
        "checks": f"{here}/checks",
        "language": f"{here}/language",
        "budget": f"{here}/budget",
        "jobs": f"{here}/jobs",
        "job": f"/jobs/{failed.id}",
        "work": f"{here}/work",
        "work, one latent": f"{here}/work?latent=0",
        "export": f"{here}/export",
        "export, narrowed": f"{here}/export?q=numbers&parts=scores&format=csv",
        "compare rewrites": f"{here}/compare?a={first.id}&b={second.id}",
    }


def _sentence(session: Session, study: Study) -> Sentence:
    job = Job(study_id=study.id, kind="sentence", status="finished", created_by="ana")
    session.add(job)
    session.flush()
    strings = ["<s>", "In", " the", " year", " 1790", " Congress"]
    sentence = Sentence(
        study_id=study.id,
        job_id=job.id,
        simulator_id=study.simulator_id,
        text="".join(strings[1:]),
        tokens=list(range(len(strings))),
        strings=strings,
        active=[[], [], [[3, 0.5]], [[3, 1.0]], [[0, 9.0], [3, 0.5]], [[1, 9.0], [0, 0.5]]],
        simulated={
            str(current_of(session, study, 0).id): {
                "values": [None, 0.5, 0.0, 3.0, 9.0, None],
                "failures": {"The reply is no JSON list.": 1},
            }
        },
        created_by="ana",
    )
    session.add(sentence)
    session.flush()
    job.params = {"sentence_id": sentence.id}
    return sentence


@pytest.fixture(scope="module")
def addresses(web: str) -> dict[str, str]:
    with new_session() as session:
        return {name: web + path for name, path in everything(session).items()}


def _unfold(page: Page) -> None:
    """Open whatever is folded, and wait for what is fetched then and for the charts."""
    page.evaluate(
        """async () => {
          for (const one of document.querySelectorAll("details")) one.open = true;
          for (const one of document.querySelectorAll("[hx-trigger*=intersect]")) {
            one.scrollIntoView();
          }
          await new Promise((then) => setTimeout(then, 50)); // htmx is told a moment later
          scrollTo(0, 0);
        }"""
    )
    page.wait_for_function(
        "() => !document.querySelector('.htmx-request') &&"
        "[...document.querySelectorAll('[data-chart] .drawing')]"
        ".every((one) => one.querySelector('details'))"
    )


def wrongs(page: Page, rules: list[str]) -> list[str]:
    """What axe-core finds serious or critical on a page, as it is now.

    Args:
        rules: Those to run; all that are on by default where none is named.
    """
    options: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
    if rules:
        options["runOnly"] = {"type": "rule", "values": rules}
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found: list[dict[str, Any]] = page.evaluate(
        "(options) => axe.run(document, options).then((found) => found.violations)", options
    )
    return [
        f"{one['id']} ({one['impact']}): {node['target']} {node['html'][:160]}"
        f" {node['failureSummary']}"
        for one in found
        if one["impact"] in GRAVE
        for node in one["nodes"]
    ]


def _fits(page: Page) -> bool:
    """Whether nothing is wider than the window, once charts have followed it."""
    try:
        page.wait_for_function(
            "() => document.documentElement.scrollWidth <= innerWidth", timeout=3000
        )
    except TimeoutError:
        return False
    return True


def test_no_page_shuts_anybody_out(browser: Browser, addresses: dict[str, str]) -> None:
    page = browser.new_page()
    found = []
    for name, address in addresses.items():
        page.set_viewport_size({"width": 1920, "height": 900})
        page.emulate_media(color_scheme="light")
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == (404 if name == "an error" else 200), name
        _unfold(page)
        if not _fits(page):
            found.append(f"{name}, 1920: it scrolls sideways")
        for width, scheme, rules in LOOKS:
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            if not _fits(page):
                found.append(f"{name}, {width}: it scrolls sideways")
            found += [f"{name}, {width}, {scheme}: {one}" for one in wrongs(page, rules)]
    page.close()
    assert not found, "\n".join(found)


def test_every_page_is_looked_at(addresses: dict[str, str]) -> None:
    pages = {path: compile_path(path)[0] for path, ways in page_routes().items() if "GET" in ways}
    assert pages.keys() >= NO_PAGES.keys(), "one of these is gone"
    seen = set()
    for address in addresses.values():
        found = [path for path, form in pages.items() if form.match(urlsplit(address).path)]
        seen.add(min(found, key=lambda path: path.count("{")))
    assert pages.keys() - NO_PAGES.keys() - seen == set(), "add these to everything()"


def test_what_is_wrong_is_found(browser_page: Page) -> None:
    browser_page.set_content(
        "<html lang=en><title>t</title>"
        "<main><h1>t</h1><input><p style='color: #bbb'>pale</p></main>"
    )
    assert [one.split()[0] for one in wrongs(browser_page, [])] == ["color-contrast", "label"]
    assert [one.split()[0] for one in wrongs(browser_page, COLOURS)] == ["color-contrast"]
    browser_page.set_content("<p style='width: 3000px'>wide</p>")
    assert not _fits(browser_page)
