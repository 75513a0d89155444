"""Signing in and out, as a browser does it, with scripts and without."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy.orm import Session

from app.web.guard.people import COOKIE
from cli.servers import Servers
from interp.vocabulary import Role
from models import Study, User
from tests.people import PASSWORD, add_person
from tests.serving import serving


@pytest.fixture(scope="module")
def accounts(servers: Servers, data_folder: Path) -> Iterator[str]:
    """The address of a web server with accounts."""
    with serving(data_folder, PALIMPSEST_ACCOUNTS="true") as url:
        yield url


@pytest.fixture
def person(db: Session) -> User:
    return add_person(db, f"grace-{uuid.uuid4().hex[:6]}", Role.READER)


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


@pytest.mark.parametrize("scripts", [True, False])
def test_somebody_signs_in_and_out(
    browser: Browser, accounts: str, person: User, study: Study, scripts: bool
) -> None:
    context = browser.new_context(java_script_enabled=scripts)
    page = context.new_page()
    wanted = f"{accounts}/studies/{study.slug}/latents?sort=correlation"
    page.goto(wanted)
    assert "/sign-in?next=" in page.url
    sign_in(page, person.name, "wrong horse")
    expect(page.get_by_role("alert").filter(has_text="wrong")).to_be_visible()
    sign_in(page, person.name)
    expect(page).to_have_url(wanted)
    (cookie,) = context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (COOKIE, True, "Lax")
    # A reader is shown what there is to read, and no more.
    expect(page.get_by_role("checkbox", name="Choose latent 0")).to_have_count(0)
    page.goto(f"{accounts}/studies/{study.slug}/latents/0")
    expect(page.get_by_label("New explanation")).to_have_count(0)
    page.get_by_role("link", name=person.name).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(person.name)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert context.cookies() == []
    page.goto(wanted)
    assert "/sign-in?next=" in page.url
    context.close()


def test_somebody_makes_a_token_and_revokes_it(
    browser_page: Page, accounts: str, person: User
) -> None:
    page = browser_page
    page.goto(f"{accounts}/account")
    sign_in(page, person.name)
    page.get_by_label("Label").fill("notebook")
    page.get_by_role("button", name="Make it").click()
    token = page.locator("#token").inner_text()
    headers = {"Authorization": f"Bearer {token}"}
    studies = f"{accounts}/api/v1/studies"
    asked = "([url, headers]) => fetch(url, {headers}).then(answer => answer.status)"
    assert page.evaluate(asked, [studies, headers]) == 200
    page.goto(f"{accounts}/account")
    assert token not in page.content()
    page.get_by_role("button", name="Revoke notebook").click()
    expect(page.get_by_text("You have no token.")).to_be_visible()
    without_cookie = page.context.browser.new_context() if page.context.browser else None
    assert without_cookie is not None
    answer = without_cookie.request.get(studies, headers=headers)
    assert answer.status == 401
    without_cookie.close()
