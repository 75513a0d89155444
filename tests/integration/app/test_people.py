"""What everybody may do: every route is tried by every role, as the app declares it."""

import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from starlette.routing import compile_path

from app.main import create_app
from app.services.people.sessions import LONGEST, hash_of
from app.web.guard.people import COOKIE, SECURE_COOKIE, permitted
from app.web.guard.security import same_site
from app.web.roles import By, Need, need_of
from cli.servers import Servers
from interp.vocabulary import Role, TokenScope
from models import ApiToken, Study, User, UserSession
from models.database import new_session
from tests.conftest import palimpsest
from tests.everything import everything
from tests.people import PASSWORD, add_person, bearer, sign_in
from tests.reading import problem_of
from tests.serving import serving

OPEN = {
    "GET /api/v1/openapi.json": "the description of the API, which is in the docs too",
    "GET /healthz": "whether the servers run",
    "GET /static/style.css": "a style sheet",
    "GET /sign-in": "the form for who is not known",
    "POST /sign-in": "the same",
    "GET /sign-in/provider": "the way to the OpenID provider",
    "GET /sign-in/provider/callback": "the way back, with its word on who somebody is",
}
"""Routes that ask nobody who they are, and why."""
ABSENT = {"slug": "no-such-study", "index": "7", "id": "0" * 32}
"""What paths name in the tests below: nothing that is there, so that nothing is changed."""


class Route(NamedTuple):
    """A method of an address."""

    method: str
    path: str
    need: Need
    guarded: bool

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def address(self) -> str:
        """The address, of something that does not exist."""
        return re.sub(r"{(\w+)}", lambda found: ABSENT.get(found[1], "987654321"), self.path)


def every_route() -> list[Route]:
    """Every route of the app but the folder of static files."""
    found = []
    for one in iter_route_contexts(create_app().routes):
        if one.path == "/static":
            continue
        dependant = getattr(one, "dependant", None)
        calls = [each.call for each in dependant.dependencies] if dependant else []
        guarded = permitted in calls and same_site in calls
        for method in sorted(one.methods - {"HEAD"}):
            found.append(Route(method, one.path, need_of(one.endpoint, method), guarded))
    return found


ROUTES = every_route()


ANEW = httpx.Limits(max_keepalive_connections=0)
"""A server closes connections that wait for long, as these do between tests."""


class Asker(NamedTuple):
    """Somebody with a role, and how the server knows them."""

    client: httpx.Client
    by: By
    role: Role | None
    """None for somebody whom a server does not let in at all."""


@pytest.fixture(scope="module")
def server(servers: Servers, data_folder: Path) -> Iterator[str]:
    """The address of a web server with accounts."""
    with serving(data_folder, PALIMPSEST_ACCOUNTS="true") as url:
        yield url


@pytest.fixture(scope="module")
def public(servers: Servers, data_folder: Path) -> Iterator[str]:
    """The address of a web server with accounts that shows its studies to the world."""
    with serving(data_folder, PALIMPSEST_ACCOUNTS="true", PALIMPSEST_PUBLIC="true") as url:
        yield url


@pytest.fixture(scope="module")
def askers(server: str, public: str) -> Iterator[dict[str, Asker]]:
    """Everybody who may ask: of each role by a session, by tokens, and unknown."""
    found = {}
    with new_session() as session:
        users = {role: add_person(session, f"a {role}", role) for role in Role}
        admin, editor = users[Role.ADMIN], users[Role.EDITOR]
        tokens = {
            "read token of an admin": (bearer(session, admin, TokenScope.READ), Role.READER),
            "write token of an admin": (bearer(session, admin), Role.ADMIN),
            "write token of an editor": (bearer(session, editor), Role.EDITOR),
        }
    for role, user in users.items():
        client = httpx.Client(base_url=server, limits=ANEW, timeout=60)
        assert sign_in(client, user.name).status_code == 303
        found[str(role)] = Asker(client, "session", role)
    for name, (headers, role) in tokens.items():
        client = httpx.Client(base_url=server, headers=headers, limits=ANEW, timeout=60)
        found[name] = Asker(client, "token", role)
    found["nobody"] = Asker(httpx.Client(base_url=server, limits=ANEW, timeout=60), "nothing", None)
    found["public"] = Asker(
        httpx.Client(base_url=public, limits=ANEW, timeout=60), "nothing", Role.READER
    )
    yield found
    for asker in found.values():
        asker.client.close()


@pytest.fixture
def person(db: Session) -> User:
    """Somebody of this test alone."""
    return add_person(db, f"somebody-{uuid.uuid4().hex[:6]}", Role.EDITOR)


@pytest.fixture
def browser_of(server: str, person: User) -> Iterator[httpx.Client]:
    """Their browser, signed in."""
    with httpx.Client(base_url=server, timeout=60) as client:
        assert sign_in(client, person.name).status_code == 303
        yield client


def test_no_route_is_open_by_accident() -> None:
    assert len(ROUTES) > 150
    assert {route.name for route in ROUTES if not route.guarded} == OPEN.keys()


def test_admins_alone_make_and_delete_studies_and_simulators() -> None:
    found = {route.name for route in ROUTES if route.need.role is Role.ADMIN}
    assert found == {
        "GET /studies/new",
        "POST /studies/new",
        "GET /studies/{slug}/edit",
        "POST /studies/{slug}/edit",
        "GET /studies/{slug}/delete",
        "POST /studies/{slug}/delete",
        "POST /studies/{slug}/simulator",
        "POST /simulators",
        "GET /simulators/{simulator_id}/delete",
        "POST /simulators/{simulator_id}/delete",
        "POST /api/v1/studies",
        "PATCH /api/v1/studies/{slug}",
        "DELETE /api/v1/studies/{slug}",
        "POST /api/v1/inspections",
        "GET /api/v1/inspections/{id}",
        "DELETE /api/v1/inspections/{id}",
        "POST /api/v1/simulators",
        "DELETE /api/v1/simulators/{simulator_id}",
    }
    own = {route.name for route in ROUTES if route.need.by == ("session",)}
    assert own == {
        "POST /sign-out",
        "GET /account",
        "POST /account/tokens",
        "POST /account/tokens/{token_id}/revoke",
    }
    changes = [route for route in ROUTES if route.method != "GET" and route.guarded]
    readers = {route.name for route in changes if route.need.role is Role.READER}
    assert readers == own - {"GET /account"}


def status(client: httpx.Client, route: Route) -> int:
    """The status of an answer. Nothing of it is read, as a stream does not end."""
    body = {} if route.method == "GET" else {"json": {}} if "/api/" in route.path else {"data": {}}
    with client.stream(route.method, route.address, **body) as answer:
        return answer.status_code


def expected(asker: Asker, need: Need) -> int | None:
    """The status by which a need refuses somebody; None if it does not."""
    ranks = list(Role)
    unknown = asker.by == "nothing"
    if asker.role is None or asker.by not in need.by:
        return 401 if unknown else 403
    if ranks.index(asker.role) < ranks.index(need.role):
        return 401 if unknown else 403
    return None


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_route_by_everybody(askers: dict[str, Asker], route: Route) -> None:
    for name, asker in askers.items():
        found = status(asker.client, route)
        refused = expected(asker, route.need) if route.guarded else None
        assert found < 500, (name, found)
        if refused is not None:
            assert found == refused, (name, found)
        elif route.name != "POST /sign-in":
            assert found not in (401, 403), (name, found)
        if route.path == "/sign-out" and refused is None:
            assert sign_in(asker.client, f"a {name}").status_code == 303


def test_an_answer_says_which_role_is_needed(askers: dict[str, Asker], study: Study) -> None:
    reader, editor = askers["reader"].client, askers["editor"].client
    path = f"/studies/{study.slug}/latents/0/explanations"
    refused = reader.post(f"/api/v1{path}", json={"text": "by a reader"})
    assert "needs the role editor" in problem_of(refused, 403)
    page = reader.post(path, data={"text": "by a reader"})
    assert page.status_code == 403
    assert "needs the role editor" in page.text
    said = problem_of(editor.delete(f"/api/v1/studies/{study.slug}"), 403)
    assert "needs the role admin" in said
    saved = editor.post(f"/api/v1{path}", json={"text": "ours"})
    assert saved.json()["explanation"]["author"] == "a editor"
    scope = askers["read token of an admin"].client.post(f"/api/v1{path}", json={"text": "x"})
    assert "scope of the token" in problem_of(scope, 403)


def test_another_role_holds_from_the_next_request(
    browser_of: httpx.Client, person: User, db: Session, study: Study
) -> None:
    path = f"/api/v1/studies/{study.slug}/latents/0/star"
    assert browser_of.put(path).status_code == 200
    db.execute(update(User).where(User.id == person.id).values(role=Role.READER))
    db.commit()
    assert browser_of.put(path).status_code == 403


def test_a_public_server_is_looked_at_and_not_changed(
    public: str, person: User, db: Session, study: Study
) -> None:
    with httpx.Client(base_url=public, timeout=60) as client:
        page = client.get(f"/studies/{study.slug}")
        assert page.status_code == 200
        assert "Sign in" in page.text
        assert client.get(f"/studies/{study.slug}/figures.csv").status_code == 200
        export = client.get(f"/api/v1/studies/{study.slug}/export")
        assert "Sign in" in problem_of(export, 401)
        # An unknown body is not read: it is refused by its head.
        saved = client.post(
            f"/api/v1/studies/{study.slug}/latents/0/explanations", content=b"{" * 500_000
        )
        assert "Sign in" in problem_of(saved, 401)
        wrong = {"Authorization": "Bearer pal_wrong"}
        assert client.get("/studies", headers=wrong).status_code == 401
        assert sign_in(client, person.name).status_code == 303
        assert client.get(f"/api/v1/studies/{study.slug}/export").status_code == 200


# --- Sessions -------------------------------------------------------------------------------------


def lets_in(client: httpx.Client) -> bool:
    return client.get("/api/v1/studies").status_code == 200


def with_cookie(server: str, token: str) -> httpx.Client:
    return httpx.Client(base_url=server, cookies={COOKIE: token}, timeout=60)


def test_a_session_begins_and_ends(server: str, person: User, db: Session) -> None:
    with httpx.Client(base_url=server, timeout=60) as client:
        html = {"Accept": "text/html"}
        away = client.get("/jobs?page=2", headers=html)
        assert away.status_code == 303
        assert away.headers["location"] == "/sign-in?next=%2Fjobs%3Fpage%3D2"
        form = client.get(away.headers["location"])
        assert 'value="/jobs?page=2"' in form.text
        wrong = client.post("/sign-in", data={"name": person.name, "password": "wrong horse"})
        assert wrong.status_code == 401 and COOKIE not in client.cookies
        assert "wrong horse" not in wrong.text
        sent = {"name": person.name, "password": PASSWORD, "next": "/jobs?page=2"}
        right = client.post("/sign-in", data=sent)
        assert (right.status_code, right.headers["location"]) == (303, "/jobs?page=2")
        token = client.cookies[COOKIE]
        stored = db.scalars(select(UserSession).filter_by(user_id=person.id)).one()
        assert stored.token_hash == hash_of(token) and token.encode() not in stored.token_hash
        assert lets_in(client)
        assert client.post("/sign-out").status_code == 303
        assert COOKIE not in client.cookies
    with with_cookie(server, token) as stolen:
        assert not lets_in(stolen)


def test_the_cookie_is_for_this_site_alone(server: str, person: User) -> None:
    def cookie(**headers: str) -> str:
        data = {"name": person.name, "password": PASSWORD}
        answer = httpx.post(f"{server}/sign-in", data=data, headers=headers)
        return answer.headers["set-cookie"]

    plain = cookie()
    assert plain.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(plain.split("; "))
    assert "Secure" not in plain and "Domain" not in plain
    # As a proxy on this machine says that the request came over TLS.
    tls = {"X-Forwarded-Proto": "https"}
    secure = cookie(**tls)
    assert secure.startswith(f"{SECURE_COOKIE}=")
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Secure"} <= set(secure.split("; "))
    assert "Domain" not in secure
    token = secure.partition("=")[2].partition(";")[0]
    for name, status in ((SECURE_COOKIE, 200), (COOKIE, 401)):
        sent = {"Cookie": f"{name}={token}", **tls}
        assert httpx.get(f"{server}/api/v1/studies", headers=sent).status_code == status


def test_a_session_that_somebody_planted_is_not_taken_up(
    server: str, person: User, browser_of: httpx.Client
) -> None:
    """Fixation: who knows the token of before the sign-in knows nothing after it."""
    before = browser_of.cookies[COOKIE]
    for planted in ("x" * 43, before):
        with with_cookie(server, planted) as victim:
            assert sign_in(victim, person.name).status_code == 303
            cookies = [cookie for cookie in victim.cookies.jar if cookie.domain]
            assert all(cookie.value != planted for cookie in cookies)
        with with_cookie(server, planted) as attacker:
            assert not lets_in(attacker)


@pytest.mark.parametrize("column", ["seen_at", "created_at"])
def test_a_session_ends_by_itself(
    browser_of: httpx.Client, person: User, db: Session, column: str
) -> None:
    longest = timedelta(hours=72) if column == "seen_at" else LONGEST
    mine = update(UserSession).where(UserSession.user_id == person.id)
    for ago, inside in ((longest - timedelta(minutes=5), True), (longest, False)):
        db.execute(mine.values({column: func.now() - ago}))
        db.commit()
        assert lets_in(browser_of) is inside
        if inside and column == "seen_at":
            idle = func.now() - UserSession.seen_at
            just_now = select(idle < timedelta(minutes=1)).filter_by(user_id=person.id)
            assert db.scalar(just_now), "a request is the last one that was seen"


def test_the_last_request_is_written_once_a_minute(
    browser_of: httpx.Client, person: User, db: Session
) -> None:
    seen = select(UserSession.seen_at).filter_by(user_id=person.id)
    first = db.scalar(seen)
    db.commit()
    assert lets_in(browser_of)
    assert db.scalar(seen) == first


def test_a_new_password_ends_all_sessions(
    server: str, browser_of: httpx.Client, person: User, servers: Servers
) -> None:
    with with_cookie(server, browser_of.cookies[COOKIE]) as stolen:
        assert lets_in(stolen)
        add = ("user", "add", person.name, "--password", "another horse")
        assert palimpsest(*add).returncode == 0
        assert not lets_in(stolen) and not lets_in(browser_of)
    assert sign_in(browser_of, person.name).status_code == 401
    assert sign_in(browser_of, person.name, "another horse").status_code == 303
    assert palimpsest("user", "remove", person.name).returncode == 0
    assert not lets_in(browser_of)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_changes_nothing_with_the_cookie(
    browser_of: httpx.Client, person: User, study: Study, headers: dict[str, str]
) -> None:
    star = f"/api/v1/studies/{study.slug}/latents/0/star"
    assert browser_of.put(star, headers=headers).status_code == 403
    assert browser_of.post("/sign-out", headers=headers).status_code == 403
    assert browser_of.post("/account/tokens", headers=headers).status_code == 403
    data = {"name": person.name, "password": PASSWORD}
    assert browser_of.post("/sign-in", data=data, headers=headers).status_code == 403
    assert browser_of.put(star).status_code == 200


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://elsewhere.example/",
        "//elsewhere.example",
        "/\\elsewhere.example",
        "/\t/elsewhere.example",
        "javascript:alert(1)",
        "jobs",
        "/jobs\r\nSet-Cookie: a=b",
        "/" + "a" * 9000,
        "",
    ],
)
def test_nobody_is_sent_elsewhere_after_the_sign_in(
    server: str, person: User, elsewhere: str
) -> None:
    data = {"name": person.name, "password": PASSWORD, "next": elsewhere}
    answer = httpx.post(f"{server}/sign-in", data=data)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_long_forms_of_strangers_are_not_read(server: str) -> None:
    answer = httpx.post(f"{server}/sign-in", data={"name": "a", "password": "x" * 40_000})
    assert answer.status_code == 413
    for name, password in (("a\0", "x"), ("n" * 300, "x"), ("a", "x" * 5000), ("", "")):
        data = {"name": name, "password": password}
        assert httpx.post(f"{server}/sign-in", data=data).status_code == 401


def test_without_accounts_there_is_nothing_to_sign_in_to(web: str) -> None:
    for path in ("/sign-in", "/account"):
        answer = httpx.get(web + path)
        assert answer.status_code == 404
        assert "Accounts are off" in answer.text
    assert httpx.post(f"{web}/sign-in", data={"name": "a", "password": "b"}).status_code == 404
    assert httpx.post(f"{web}/sign-out").status_code == 404


# --- API tokens -----------------------------------------------------------------------------------


def test_a_token_is_made_used_and_revoked(
    server: str, browser_of: httpx.Client, person: User, db: Session, study: Study
) -> None:
    made = browser_of.post("/account/tokens", data={"label": " My notebook ", "scope": "write"})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    (token,) = set(re.findall(r"pal_[\w-]{43}", made.text))
    assert token not in browser_of.get("/account").text
    stored = db.scalars(select(ApiToken).filter_by(user_id=person.id)).one()
    assert (stored.label, stored.scope, stored.used_at) == ("My notebook", "write", None)
    assert stored.token_hash == hash_of(token)
    star = f"/api/v1/studies/{study.slug}/latents/0/star"
    with httpx.Client(base_url=server, headers={"Authorization": f"bearer {token}"}) as program:
        assert program.put(star).status_code == 200
        db.refresh(stored)
        first = stored.used_at
        assert first is not None
        assert program.put(star).status_code == 200
        db.refresh(stored)
        assert stored.used_at == first, "its use is written once a minute"
        refused = program.post("/account/tokens", data={"label": "more", "scope": "write"})
        assert refused.status_code == 403
        gone = browser_of.post(f"/account/tokens/{stored.id}/revoke")
        assert gone.status_code == 303
        assert "revoked" in problem_of(program.put(star), 401)
    assert browser_of.post(f"/account/tokens/{stored.id}/revoke").status_code == 404


def test_bad_tokens_are_not_made(browser_of: httpx.Client, askers: dict[str, Asker]) -> None:
    for data, field in (
        ({"label": "  ", "scope": "read"}, "label"),
        ({"label": "x" * 101, "scope": "read"}, "label"),
        ({"label": "a\0", "scope": "read"}, "label"),
        ({"label": "a", "scope": "admin"}, "scope"),
        ({"label": "a"}, "scope"),
    ):
        answer = browser_of.post("/account/tokens", data=data)
        assert answer.status_code == 422
        assert f'id="{field}-error"' in answer.text
    one = {"label": "one", "scope": "read"}
    assert browser_of.post("/account/tokens", data=one).status_code == 201
    assert browser_of.post("/account/tokens", data=one).status_code == 409


def test_nobody_revokes_a_token_of_somebody_else(
    browser_of: httpx.Client, person: User, db: Session, askers: dict[str, Asker]
) -> None:
    browser_of.post("/account/tokens", data={"label": "mine", "scope": "read"})
    token = db.scalars(select(ApiToken).filter_by(user_id=person.id)).one()
    other = askers["admin"].client.post(f"/account/tokens/{token.id}/revoke")
    assert other.status_code == 404
    db.refresh(token)


def test_tokens_of_the_command(server: str, person: User, servers: Servers, study: Study) -> None:
    label = ("--label", "nightly")
    made = palimpsest("user", "token", person.name, *label)
    assert made.returncode == 0, made.stderr
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    with httpx.Client(base_url=server, headers=headers) as program:
        assert lets_in(program)
        star = f"/api/v1/studies/{study.slug}/latents/0/star"
        assert program.put(star).status_code == 403, "its scope is read"
        listed = palimpsest("user", "tokens", person.name).stdout
        assert "nightly" in listed and "never" not in listed
        again = palimpsest("user", "token", person.name, *label)
        assert again.returncode == 1 and "already" in again.stderr
        assert palimpsest("user", "revoke", person.name, *label).returncode == 0
        assert not lets_in(program)
    gone = palimpsest("user", "revoke", person.name, *label)
    assert gone.returncode == 1 and "no such token" in gone.stderr
    empty = palimpsest("user", "token", person.name, "--label", " ")
    assert empty.returncode == 1 and "--label" in empty.stderr


# --- What pages show ------------------------------------------------------------------------------


class _Controls(HTMLParser):
    """What a page lets somebody do: method and address of each form, button and link."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[tuple[str, str]] = set()
        self._method = "GET"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._method = given.get("method", "get").upper()
            if "action" in given:
                self.found.add((self._method, given["action"]))
        method = given.get("formmethod", self._method).upper()
        for name, how in (
            ("href", "GET"),
            ("hx-get", "GET"),
            ("hx-post", "POST"),
            ("formaction", method),
        ):
            if name in given:
                self.found.add((how, given[name]))


def controls(page: str) -> set[tuple[str, str]]:
    parser = _Controls()
    parser.feed(page)
    return {(method, urlsplit(to).path) for method, to in parser.found if to.startswith("/")}


PATTERNS = [(route, compile_path(route.path)[0]) for route in ROUTES]


def route_at(method: str, path: str) -> Route | None:
    """The first route that answers, as the app has them in order."""
    found = (r for r, pattern in PATTERNS if r.method == method and pattern.match(path))
    return next(found, None)


@pytest.fixture(scope="module")
def addresses(servers: Servers) -> dict[str, str]:
    with new_session() as session:
        return everything(session)


def test_pages_show_nothing_that_would_be_refused(
    askers: dict[str, Asker], addresses: dict[str, str]
) -> None:
    shown: dict[str, set[str]] = {}
    for name in ("public", "reader", "editor", "admin"):
        asker, found = askers[name], shown.setdefault(name, set())
        for what, address in {**addresses, "account": "/account"}.items():
            answer = asker.client.get(address)
            if answer.status_code in (401, 403):
                continue
            for method, path in controls(answer.text):
                route = route_at(method, path)
                if route and route.guarded:
                    refused = expected(asker, route.need)
                    assert refused is None, f"{what} shows {name} {route.name}"
                    found.add(route.name)

    def posted(name: str) -> set[str]:
        return {route for route in shown[name] if route.startswith("POST")}

    assert posted("public") == set()
    assert posted("reader") == {"POST /sign-out", "POST /account/tokens"}
    assert len(posted("admin")) > len(posted("editor")) > 20
