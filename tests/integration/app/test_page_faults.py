"""What newcomers stumbled over, each as a test: the pages as the server writes them."""

import re

import httpx
import pytest
from sqlalchemy.orm import Session

from app.services.rewrites.queries import statistics_of
from models import Context, Example, Study
from tests.factories import little_study, page_job
from tests.reading import headline_point, latent_of, text_of
from tests.text_study import text_study


def test_the_story_is_that_of_the_figures(pages: httpx.Client, db: Session, study: Study) -> None:
    page = pages.get(f"/studies/{study.slug}").text
    top = headline_point(db, study)
    real = statistics_of(top).against.real_latents
    assert real is not None and real.mean is not None
    share, _, added, _, left = re.findall(r"<dd><b>([^<]*)</b>", page)
    assert share == "33%"
    assert (added, left) == (f"{top.increase:+.3f}", f"{real.mean:+.3f}")
    # What a newcomer asks comes before the chart, and every choice after it.
    chart = page.index('id="loss-chart"')
    assert page.index('class="story"') < chart < page.index('aria-label="Protocol"')


@pytest.mark.parametrize("status", ["cancelled", "failed"])
def test_a_study_whose_collection_stopped_says_so(
    pages: httpx.Client, db: Session, status: str
) -> None:
    study = little_study(db, latents=0, simulator=False)
    page_job(db, study, kind="collect", status=status, message="It was stopped by ana.")
    page = pages.get(f"/studies/{study.slug}").text
    assert re.findall(r'<li data-state="(\w+)">', page) == [status, "later", "later", "later"]
    assert page.count("It was stopped by ana.") == 1
    assert f'href="/studies/{study.slug}/edit"' in page, "the way on"


def test_the_steps_to_the_first_chart(pages: httpx.Client, db: Session) -> None:
    study = little_study(db, simulated=0, rewritten=False)
    running = page_job(db, study, status="running", done=3, total=12, unit="batches")
    queued = page_job(db, study, kind="rewrite", status="queued")
    page = pages.get(f"/studies/{study.slug}").text
    states = re.findall(r'<li data-state="(\w+)">', page)
    assert states == ["done", "done", "running", "queued"]
    assert "3 of 12 batches" in text_of(pages.get(f"/studies/{study.slug}"))
    for job in (running, queued):
        pages.post(f"/jobs/{job.id}/cancel")


def test_the_firing_rate_is_filtered_in_per_cent(pages: httpx.Client, study: Study) -> None:
    here = f"/studies/{study.slug}/latents"
    in_percent = pages.get(here, params={"firing_percent_min": "2", "firing_percent_max": "4"})
    in_shares = pages.get(here, params={"firing_rate_min": "0.02", "firing_rate_max": "0.04"})
    rows = re.findall(r'<tr id="row-(\d+)">', in_percent.text)
    assert rows and rows == re.findall(r'<tr id="row-(\d+)">', in_shares.text)
    assert 'name="firing_percent_min" type="number" step="any" value="2"' in in_shares.text
    assert in_percent.headers["HX-Push-Url"] == f"{here}?firing_rate_min=0.02&firing_rate_max=0.04"
    assert pages.get(here, params={"firing_percent_min": "many"}).status_code == 422


def test_random_on_a_study_without_latents(pages: httpx.Client, db: Session) -> None:
    study = little_study(db, latents=0, simulator=False)
    answer = pages.get(f"/studies/{study.slug}/latents/random", follow_redirects=True)
    assert answer.status_code == 200 and answer.url.path == f"/studies/{study.slug}/latents"


def test_a_page_of_a_study_that_is_not_there_keeps_the_way_back(
    pages: httpx.Client, study: Study
) -> None:
    here = f"/studies/{study.slug}"
    for path in ("/latents/5000", "/latents/x", "/sentences/1", "/nothing"):
        answer = pages.get(here + path)
        assert answer.status_code == 404
        assert f'href="{here}/latents"' in answer.text, path
    assert "/studies/none/latents" not in pages.get("/studies/none").text


def test_all_pages_of_a_study_are_in_its_head(pages: httpx.Client, study: Study) -> None:
    here = f"/studies/{study.slug}"
    for to in (f"{here}/export", f"/simulators?study={study.slug}"):
        assert f'href="{to}"' in pages.get(here).text
        assert f'href="{here}/latents"' in pages.get(to).text


def test_the_api_page_lists_every_operation(pages: httpx.Client, api: httpx.Client) -> None:
    page = pages.get("/api").text
    for path, methods in api.get("/openapi.json").json()["paths"].items():
        for method in methods:
            if path.startswith("/api/v1"):
                one = f"{method.upper()} {path.removeprefix('/api/v1')}"
                assert f"<code>{one}</code>" in page
    assert 'href="/api"' in pages.get("/studies").text


def test_more_than_the_first_examples(pages: httpx.Client, db: Session) -> None:
    study = text_study(db)
    latent = latent_of(db, study, 0)
    db.query(Example).filter_by(latent_id=latent.id).delete()
    contexts = db.query(Context).filter_by(study_id=study.id, set="explain").limit(20).all()
    for rank, context in enumerate(contexts):
        values = [0.0] * len(context.tokens)
        values[-1] = 9.0 - rank / 10
        db.add(
            Example(
                latent_id=latent.id,
                context_id=context.id,
                kind="top",
                rank=rank,
                activations=values,
            )
        )
    db.commit()
    at = f"/studies/{study.slug}/latents/0"
    few, all_of_them = pages.get(at).text, pages.get(at, params={"more": True}).text
    assert len(contexts) == 20
    shown = [len(re.findall(r'aria-label="Example \d+;', page)) for page in (few, all_of_them)]
    copies = [len(re.findall(r"\(peak", page)) for page in (few, all_of_them)]
    assert [a + b for a, b in zip(shown, copies, strict=True)] == [8, len(contexts)]
    assert f'href="{at}?more=true#examples"' in few


def test_terms_have_a_meaning_that_opens(pages: httpx.Client, study: Study) -> None:
    for path in ("", "/latents", "/latents/0"):
        page = pages.get(f"/studies/{study.slug}{path}").text
        targets = re.findall(r'popovertarget="([^"]+)"', page)
        assert targets and len(targets) == len(set(targets)), "a term once a page"
        for target in targets:
            assert re.search(rf'id="{target}" popover>[^<]+</span>', page), target


def test_an_interval_without_zero_that_decides_nothing_is_explained(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    top = headline_point(db, study)
    other = {"mean": -0.01, "low": -0.02, "high": -0.001, "p": 0.07}
    top.statistics = {**top.statistics, "against": {**top.statistics["against"], "zero": other}}
    db.commit()
    page = pages.get(f"/studies/{study.slug}").text
    assert '<li class="verdict cannot-tell">' in page
    assert 'popovertarget="term-cannot-tell"' in page and "leaves out zero" in page
