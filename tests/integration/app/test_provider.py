"""Signing in at an OpenID provider: a real one, in a process of its own."""

import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.web.guard.people import COOKIE
from cli.processes import start, stop
from cli.servers import Servers, free_port
from interp.vocabulary import Role
from models import User, UserIdentity
from models.settings import Settings
from tests.conftest import palimpsest, wait_for
from tests.people import PASSWORD, add_person, sign_in
from tests.provider import allow, arrive, deny, describe, error_of, providing, set_out
from tests.serving import serving

CLIENT = {
    "PALIMPSEST_ACCOUNTS": "true",
    "PALIMPSEST_OIDC_CLIENT_ID": "palimpsest",
    "PALIMPSEST_OIDC_CLIENT_SECRET": "not-so-secret",
}


@pytest.fixture(scope="module")
def provider(servers: Servers, data_folder: Path) -> Iterator[str]:
    with providing(data_folder) as address:
        yield address


@pytest.fixture(scope="module")
def server(provider: str, data_folder: Path) -> Iterator[str]:
    """The address of a web server whose people may sign in there."""
    with serving(data_folder, **CLIENT, PALIMPSEST_OIDC_ISSUER=provider) as url:
        yield url


@pytest.fixture(scope="module")
def grouped(provider: str, data_folder: Path) -> Iterator[str]:
    """A web server that takes roles from the provider's groups, and lets in no others."""
    settings = {
        "PALIMPSEST_OIDC_ISSUER": provider,
        "PALIMPSEST_OIDC_ROLES": "leads=admin, cn=lab=editor",
        "PALIMPSEST_OIDC_NEWCOMERS": "none",
        "PALIMPSEST_OIDC_DOMAINS": "lab.example, Other.example",
    }
    with serving(data_folder, **CLIENT, **settings) as url:
        yield url


@pytest.fixture
def browser(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, timeout=60) as client:
        yield client


@pytest.fixture
def subject() -> str:
    """Somebody whom nobody has heard of."""
    return f"subject-{uuid.uuid4().hex[:8]}"


def person_of(db: Session, subject: str) -> User:
    db.rollback()
    mine = select(UserIdentity.user_id).filter_by(subject=subject).scalar_subquery()
    return db.scalars(select(User).where(User.id == mine)).one()


def lets_in(client: httpx.Client) -> bool:
    return client.get("/api/v1/studies").status_code == 200


def changed(address: str, **fields: str) -> str:
    """An address with other values of some fields of its query."""
    parts = urlsplit(address)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | fields
    return parts._replace(query=urlencode(query)).geturl()


def test_somebody_signs_in_and_is_the_same_person_again(
    browser: httpx.Client, provider: str, subject: str, db: Session
) -> None:
    name = f"ana-{subject}"
    describe(provider, subject, preferred_username=name, email="ana@lab.example")
    page = browser.get("/sign-in", params={"next": "/jobs?page=2"})
    assert 'href="/sign-in/provider?next=%2Fjobs%3Fpage%3D2"' in page.text
    first = arrive(browser, subject, "/jobs?page=2")
    assert (first.status_code, first.headers["location"]) == (303, "/jobs?page=2")
    before = browser.cookies[COOKIE]
    assert list(browser.cookies) == [COOKIE], "nothing is kept of the way there"
    assert lets_in(browser)
    person = person_of(db, subject)
    assert (person.name, person.role, person.password_hash) == (name, "reader", None)
    # Another name at the provider is no other person.
    describe(provider, subject, preferred_username=f"renamed-{subject}")
    assert arrive(browser, subject).status_code == 303
    assert person_of(db, subject).id == person.id
    assert person_of(db, subject).name == name
    assert browser.cookies[COOKIE] != before, "each sign-in has a new token"
    with httpx.Client(base_url=str(browser.base_url), cookies={COOKIE: before}) as old:
        assert not lets_in(old)
    # A role that was given here stays.
    person_of(db, subject).role = Role.EDITOR
    db.commit()
    assert arrive(browser, subject).status_code == 303
    assert person_of(db, subject).role == "editor"


def test_what_is_asked_of_the_provider(browser: httpx.Client, provider: str) -> None:
    address = set_out(browser)
    assert address.startswith(f"{provider}/oauth2/authorize?")
    asked = {name: values for name, values in parse_qs(urlsplit(address).query).items()}
    assert asked["response_type"] == ["code"] and asked["client_id"] == ["palimpsest"]
    assert asked["redirect_uri"] == [f"{browser.base_url}/sign-in/provider/callback"]
    assert asked["code_challenge_method"] == ["S256"] and len(asked["code_challenge"][0]) == 43
    assert set(asked["scope"][0].split()) == {"openid", "profile", "email"}
    again = parse_qs(urlsplit(set_out(browser)).query)
    for once in ("state", "nonce", "code_challenge"):
        assert asked[once] != again[once] and len(asked[once][0]) >= 20
    assert "code_verifier" not in address


def test_an_answer_counts_once_and_in_the_browser_that_set_out(
    browser: httpx.Client, server: str, subject: str
) -> None:
    callback = allow(set_out(browser), subject)
    with httpx.Client(base_url=server, timeout=60) as other:
        refused = other.get(callback)
        assert refused.status_code == 400 and "another browser" in error_of(refused)
        set_out(other)
        assert other.get(callback).status_code == 400, "it has a state of its own"
        assert not lets_in(other)
    assert browser.get(changed(callback, state="x" * 30)).status_code == 400
    # That has ended it in this browser.
    assert browser.get(callback).status_code == 400
    callback = allow(set_out(browser), subject)
    kept = dict(browser.cookies)
    assert browser.get(callback).status_code == 303
    with httpx.Client(base_url=server, cookies=kept, timeout=60) as replay:
        refused = replay.get(callback)
        assert refused.status_code == 400 and not lets_in(replay)


def test_an_id_token_that_was_made_for_something_else_is_refused(
    browser: httpx.Client, subject: str
) -> None:
    elsewhere = allow(changed(set_out(browser), nonce="of another sign-in"), subject)
    refused = browser.get(elsewhere)
    assert refused.status_code == 502 and "failed" in error_of(refused)
    forged = changed(allow(set_out(browser), subject), code="made-up")
    assert "failed" in error_of(browser.get(forged))
    other = allow(changed(set_out(browser), client_id="another-client"), subject)
    assert "failed" in error_of(browser.get(other))
    assert not lets_in(browser)


def test_the_provider_refuses(browser: httpx.Client) -> None:
    refused = browser.get(deny(set_out(browser)))
    assert refused.status_code == 403
    assert error_of(refused).endswith("did not sign you in (access_denied).")
    state = parse_qs(urlsplit(set_out(browser)).query)["state"][0]
    said = urlencode({"state": state, "error": "<script>alert(1)</script>"})
    page = browser.get(f"/sign-in/provider/callback?{said}")
    assert page.status_code == 403 and "alert(1)" not in page.text
    assert browser.get("/sign-in/provider/callback").status_code == 400


def test_a_name_that_somebody_has_is_not_taken_over(
    browser: httpx.Client, provider: str, subject: str, db: Session
) -> None:
    name = f"ben-{subject}"
    local = add_person(db, name, Role.ADMIN)
    describe(provider, subject, preferred_username=name)
    refused = arrive(browser, subject)
    assert refused.status_code == 403
    assert f"Somebody else is named {name} here" in error_of(refused)
    assert not lets_in(browser)
    assert db.scalar(select(UserIdentity).filter_by(subject=subject)) is None
    assert sign_in(browser, name).status_code == 303, "their password still works"
    db.refresh(local)
    assert local.role == "admin"


def test_names_that_cannot_be(
    browser: httpx.Client, provider: str, subject: str, db: Session
) -> None:
    describe(provider, subject, preferred_username="a:b", name="x" * 201, email="")
    assert "no name that can be used" in error_of(arrive(browser, subject))
    describe(provider, subject, preferred_username="\u202e", name=f" Ana {subject} ")
    assert arrive(browser, subject).status_code == 303
    assert person_of(db, subject).name == f"Ana {subject}"


def test_whoever_was_removed_is_not_let_in_as_a_newcomer(
    browser: httpx.Client, provider: str, subject: str, db: Session
) -> None:
    describe(provider, subject, preferred_username=subject)
    arrive(browser, subject)
    assert palimpsest("user", "remove", subject).returncode == 0
    assert not lets_in(browser)
    refused = arrive(browser, subject)
    assert refused.status_code == 403 and "You were removed" in error_of(refused)
    assert palimpsest("user", "readmit", subject).returncode == 0
    assert arrive(browser, subject).status_code == 303
    assert person_of(db, subject).role == "reader"
    again = palimpsest("user", "readmit", subject)
    assert again.returncode == 1 and "Nobody of this name was removed" in again.stderr


def test_nobody_signs_in_with_the_password_that_they_do_not_have(
    browser: httpx.Client, provider: str, subject: str
) -> None:
    describe(provider, subject, preferred_username=subject)
    arrive(browser, subject)
    for password in ("", "None", PASSWORD):
        assert sign_in(browser, subject, password).status_code == 401
    given = palimpsest("user", "add", subject, "--password", PASSWORD)
    assert given.returncode == 0, given.stderr
    assert not lets_in(browser)
    assert sign_in(browser, subject).status_code == 303


def test_groups_give_roles_at_each_sign_in(
    grouped: str, provider: str, subject: str, db: Session
) -> None:
    about = {"preferred_username": subject, "email": "a@lab.example", "email_verified": True}
    with httpx.Client(base_url=grouped, timeout=60) as browser:
        for groups, role in (
            (["others", "cn=lab"], "editor"),
            (["cn=lab", "leads"], "admin"),
            ("cn=lab", "editor"),
        ):
            describe(provider, subject, **about, groups=groups)
            assert arrive(browser, subject).status_code == 303
            assert person_of(db, subject).role == role
        for groups in (["others"], [], None, 7, [{"admin": True}]):
            describe(provider, subject, **about, groups=groups)
            assert "in no group" in error_of(arrive(browser, subject))
        member = about | {"groups": ["leads"]}
        for claims in (
            {"email": "a@elsewhere.example"},
            {"email": "a@lab.example.evil.example"},
            {"email_verified": False},
            {"email_verified": "true"},
            {"email": None},
        ):
            describe(provider, subject, **(member | claims))
            assert "at lab.example, other.example" in error_of(arrive(browser, subject))
        describe(provider, subject, **(member | {"email": "a@OTHER.example"}))
        assert arrive(browser, subject).status_code == 303


def test_a_provider_that_is_down_is_asked_again(data_folder: Path, servers: Servers) -> None:
    port = free_port()
    settings = CLIENT | {"PALIMPSEST_OIDC_ISSUER": f"http://localhost:{port}"}
    with (
        serving(data_folder, **settings) as url,
        httpx.Client(base_url=url, timeout=60) as browser,
    ):
        assert browser.get("/sign-in").status_code == 200, "nothing is asked of it yet"
        down = browser.get("/sign-in/provider", params={"next": "/jobs"})
        assert down.status_code == 502 and "cannot be reached" in error_of(down)
        assert 'value="/jobs"' in down.text
        with providing(data_folder, port=port):
            callback = allow(set_out(browser), "ana@down.example")
        lost = browser.get(callback)
        assert lost.status_code == 502 and "cannot be reached" in error_of(lost)
        with providing(data_folder, port=port):
            # Another process, with other keys: they are fetched again.
            assert arrive(browser, "ana@down.example").status_code == 303


def test_another_issuer_than_the_settings_name(
    servers: Servers, data_folder: Path, tmp_path: Path
) -> None:
    port = free_port()
    described = tmp_path / ".well-known" / "openid-configuration"
    described.parent.mkdir()
    command = [sys.executable, "-m", "http.server", str(port), "--directory", tmp_path]
    child = start("another-issuer", command, data_folder)
    settings = CLIENT | {"PALIMPSEST_OIDC_ISSUER": f"http://localhost:{port}/"}
    try:
        wait_for(f"http://localhost:{port}/", child)
        with (
            serving(data_folder, **settings) as url,
            httpx.Client(base_url=url, timeout=60) as browser,
        ):
            away = {"authorization_endpoint": "https://evil.example/authorize"}
            for said in (
                {"issuer": "https://evil.example", **away},
                away,
                {"issuer": f"http://localhost:{port}"},
                ["no", "object"],
            ):
                described.write_text(json.dumps(said))
                refused = browser.get("/sign-in/provider")
                assert refused.status_code == 502 and "failed" in error_of(refused)
            described.write_text("<html>")
            assert browser.get("/sign-in/provider").status_code == 502
            described.unlink()
            assert "cannot be reached" in error_of(browser.get("/sign-in/provider"))
    finally:
        stop([child])


def test_without_a_provider_there_is_none(web: str) -> None:
    for path in ("/sign-in/provider", "/sign-in/provider/callback"):
        answer = httpx.get(web + path)
        assert answer.status_code == 404 and "no OpenID provider" in answer.text


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"PALIMPSEST_OIDC_CLIENT_ID": ""}, "PALIMPSEST_OIDC_CLIENT_ID"),
        ({"PALIMPSEST_ACCOUNTS": "false"}, "PALIMPSEST_OIDC_CLIENT_ID"),
        ({"PALIMPSEST_OIDC_ISSUER": "http://login.example"}, "PALIMPSEST_OIDC_ISSUER"),
        ({"PALIMPSEST_OIDC_ISSUER": "login.example"}, "PALIMPSEST_OIDC_ISSUER"),
        ({"PALIMPSEST_OIDC_ROLES": "lab=owner"}, "PALIMPSEST_OIDC_ROLES"),
        ({"PALIMPSEST_OIDC_NEWCOMERS": "nobody"}, "PALIMPSEST_OIDC_NEWCOMERS"),
    ],
)
def test_settings_that_do_not_go_together(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], field: str
) -> None:
    for name, value in (
        CLIENT | {"PALIMPSEST_OIDC_ISSUER": "https://login.example"} | given
    ).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as error:
        Settings()
    assert field in str(error.value)
