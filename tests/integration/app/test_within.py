"""What is done on a latent's page leaves it in the list that it was opened from."""

import re
from html import unescape

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Job, Study
from tests.factories import commented, reword
from tests.reading import current_of, latent_of

LIST = {"q": '"numbers" -x%', "firing_rate_min": "0.01", "sort": "firing_rate", "order": "desc"}
ELSEWHERE = {"star", "random"}
"""Of a latent, what is no way back into its list: they name it otherwise."""
PARTS = ["", "/compare", "/errors", "/examples", "/agreement", "/similar", "/prompts"]


def _addresses(page: httpx.Response, study: Study) -> list[httpx.URL]:
    """Where links, forms and htmx of a page lead on the same latent, or with its comments."""
    own = re.compile(rf"/studies/{study.slug}/latents/1(/|\?|#|$)|/comments/")
    # A form that is sent by GET names the list in hidden fields.
    html = re.sub(r'method="get" action="[^"]*"', "", page.text)
    found = re.findall(r'(?:href|action|formaction|hx-[a-z-]*url|hx-get|hx-post)="([^"]*)"', html)
    return [httpx.URL(unescape(one)) for one in found if own.match(unescape(one))]


def _names_the_list(url: httpx.URL) -> bool:
    return LIST.items() <= dict(url.params).items()


@pytest.mark.parametrize("part", [*PARTS, "current", "earlier"])
def test_links_and_forms_carry_the_list(
    pages: httpx.Client, db: Session, study: Study, part: str
) -> None:
    commented(db, latent_of(db, study, 1))
    earlier = current_of(db, study, 1)
    reword(db, study, 1)
    path = f"/studies/{study.slug}/latents/1"
    fields = {"earlier": {"version": earlier.id}, "current": {"restore": earlier.id}}.get(part, {})
    where = path if fields else path + part
    page = pages.get(where, params=LIST | fields)
    assert page.status_code == 200
    addresses = _addresses(page, study)
    ways = [one for one in addresses if one.path.rsplit("/", 1)[1] not in ELSEWHERE | {"others"}]
    assert ways
    assert [str(one) for one in ways if not _names_the_list(one)] == []


def test_what_is_done_goes_back_into_the_list(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    path = f"/studies/{study.slug}/latents/1"
    comment = commented(db, latent_of(db, study, 1))
    current = current_of(db, study, 1)
    for where, data in {
        f"{path}/explanations": {"text": "fires on numbers", "parent_id": str(current.id)},
        f"{path}/simulate": {},
        f"{path}/comments": {"explanation_id": str(current.id), "text": "so it is"},
        f"/comments/{comment.id}/delete": {},
    }.items():
        done = pages.post(where, params=LIST, data=data)
        if done.status_code == 409:  # being simulated since it was saved
            assert where.endswith("/simulate")
            continue
        assert done.status_code == 303, done.text
        back = httpx.URL(done.headers["location"])
        assert back.path == path and _names_the_list(back), back
    refused = pages.post(f"{path}/explanations", params=LIST, data={"text": " "})
    assert refused.status_code == 422
    assert "Back to the list" in refused.text
    starred = pages.post(f"{path}/star", data={"on": "true", "next": f"{path}?sort=firing_rate"})
    assert starred.headers["location"] == f"{path}?sort=firing_rate"


def test_work_on_a_latent_goes_back_into_the_list(
    pages: httpx.Client, db: Session, study: Study
) -> None:
    path = f"/studies/{study.slug}"
    page = pages.get(f"{path}/latents/3", params=LIST).text
    link = re.search(r'hx-get="([^"]*/work[^"]*)"', page)
    assert link
    form = pages.get(unescape(link[1])).text
    (within, *_) = re.findall(r'name="within" value="([^"]*)"', form)
    data = {"task": "simulate", "latent": "3", "within": unescape(within)}
    done = pages.post(f"{path}/work", data=data | {"simulator_id": str(study.simulator_id)})
    assert done.status_code == 303, done.text
    back = httpx.URL(done.headers["location"])
    assert back.path == f"{path}/latents/3" and _names_the_list(back)
    job = db.scalars(select(Job).filter_by(study_id=study.id, kind="simulate")).one()
    assert job.params["explanation_ids"] == [current_of(db, study, 3).id]


def test_a_job_is_stopped_within_the_list(pages: httpx.Client, db: Session, study: Study) -> None:
    path = f"/studies/{study.slug}/latents/1"
    pages.post(f"{path}/explanations", data={"text": "fires on other numbers"})
    page = pages.get(path, params=LIST)
    form = re.search(r'action="(/jobs/\d+/cancel)".*?name="next" value="([^"]*)"', page.text, re.S)
    assert form
    done = pages.post(form[1], data={"next": unescape(form[2])})
    assert done.status_code == 303
    assert _names_the_list(httpx.URL(done.headers["location"]))
