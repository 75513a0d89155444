"""What everybody may do: every route is tried by every role, as the app declares it."""

import re
import uuid
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy.orm import Session
from starlette.routing import compile_path

from app.main import create_app
from app.web.guard.security import hasher, permitted, same_site
from app.web.roles import Need, need_of
from cli.servers import Servers
from interp.vocabulary import Role
from models import Study, User
from models.database import new_session
from tests.browser.test_accessibility import everything
from tests.integration.app.test_security import serving
from tests.reading import problem_of

PASSWORD = "right horse battery"
OPEN = {
    "GET /api/v1/openapi.json": "the description of the API, which is in the docs too",
    "GET /healthz": "whether the servers run",
    "GET /static/style.css": "a style sheet",
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


def name_of(role: Role) -> str:
    return f"a {role}"


@pytest.fixture(scope="module")
def server(servers: Servers, data_folder: Path) -> Iterator[str]:
    """The address of a web server with accounts, which knows somebody of each role."""
    with new_session() as session:
        secret = hasher.hash(PASSWORD)
        session.add_all(User(name=name_of(r), password_hash=secret, role=r) for r in Role)
        session.commit()
    with serving(data_folder, PALIMPSEST_ACCOUNTS="true") as url:
        yield url


@pytest.fixture(scope="module")
def people(server: str) -> Iterator[dict[Role, httpx.Client]]:
    """Somebody of each role, signed in."""
    clients = {
        role: httpx.Client(base_url=server, auth=(name_of(role), PASSWORD), timeout=60)
        for role in Role
    }
    yield clients
    for client in clients.values():
        client.close()


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
    changes = [route for route in ROUTES if route.method != "GET" and route.guarded]
    assert all(route.need.role is not Role.READER for route in changes)


def status(client: httpx.Client, route: Route) -> int:
    """The status of an answer. Nothing of it is read, as a stream does not end."""
    body = {} if route.method == "GET" else {"json": {}} if "/api/" in route.path else {"data": {}}
    with client.stream(route.method, route.address, **body) as answer:
        return answer.status_code


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_route_by_every_role(
    server: str, people: dict[Role, httpx.Client], route: Route
) -> None:
    ranks = list(Role)
    for role, client in people.items():
        found = status(client, route)
        allowed = not route.guarded or ranks.index(role) >= ranks.index(route.need.role)
        assert found < 500, (role, found)
        assert (found not in (401, 403)) if allowed else (found == 403), (role, found)
    with httpx.Client(base_url=server, timeout=60) as nobody:
        found = status(nobody, route)
        assert found == (401 if route.guarded else 200), found


def test_an_answer_says_which_role_is_needed(
    people: dict[Role, httpx.Client], study: Study
) -> None:
    reader = people[Role.READER]
    path = f"/studies/{study.slug}/latents/0/explanations"
    refused = reader.post(f"/api/v1{path}", json={"text": "by a reader"})
    assert "needs the role editor" in problem_of(refused, 403)
    page = reader.post(path, data={"text": "by a reader"})
    assert page.status_code == 403
    assert "needs the role editor" in page.text
    said = problem_of(people[Role.EDITOR].delete(f"/api/v1/studies/{study.slug}"), 403)
    assert "needs the role admin" in said
    assert people[Role.EDITOR].post(f"/api/v1{path}", json={"text": "ours"}).status_code == 201


def test_another_role_holds_from_the_next_request(server: str, db: Session, study: Study) -> None:
    name = f"moved-{uuid.uuid4().hex[:6]}"
    db.add(User(name=name, password_hash=hasher.hash(PASSWORD), role=Role.EDITOR))
    db.commit()
    path = f"/api/v1/studies/{study.slug}/latents/0/star"
    with httpx.Client(base_url=server, auth=(name, PASSWORD)) as client:
        assert client.put(path).status_code == 200
        db.query(User).filter_by(name=name).update({"role": Role.READER})
        db.commit()
        assert client.put(path).status_code == 403


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
    people: dict[Role, httpx.Client], addresses: dict[str, str]
) -> None:
    ranks = list(Role)
    shown: dict[Role, set[str]] = {role: set() for role in Role}
    for role, client in people.items():
        for what, address in addresses.items():
            answer = client.get(address)
            if answer.status_code == 403:
                continue
            for method, path in controls(answer.text):
                route = route_at(method, path)
                if route is None:
                    continue
                allowed = ranks.index(role) >= ranks.index(route.need.role)
                assert allowed, f"{what} shows {role} {route.name}"
                shown[role].add(route.name)
    posted = {name for name in shown[Role.READER] if name.startswith("POST")}
    assert posted == set()
    more = {name for name in shown[Role.ADMIN] if name.startswith("POST")}
    assert len(more) > 25, "the forms were looked for in the wrong place"
