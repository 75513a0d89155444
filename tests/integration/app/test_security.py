"""Who is let in and what they may reach: names of the server, keys, servers, files, passwords."""

import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session

from app.services.inspections.schemas import InspectionCreate
from cli.servers import Servers
from interp.coders.findings import Question
from interp.errors import InputError
from interp.vocabulary import Role
from jobs.params import ExplainParams
from models import Simulator, Study
from models.settings import get_settings
from tests import REPOSITORY
from tests.explanation_files import finish
from tests.people import PASSWORD, add_person, bearer
from tests.reading import problem_of
from tests.results_folders import delphi_run
from tests.serving import serving
from tests.working import add_job, work
from workers import named, resources

# --- Names of the server --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8000",
        "localhost.",
        "palimpsest.localhost:1",
        "127.0.0.1",
        "10.20.30.40:8000",
        "[::1]:8000",
        "[2001:db8::7]",
    ],
)
def test_localhost_and_addresses_are_answered(web: str, host: str) -> None:
    assert httpx.get(f"{web}/studies", headers={"Host": host}).status_code == 200


FOREIGN = [
    "attacker.example",
    "localhost.attacker.example",
    "127.0.0.1.attacker.example:8000",
    "notlocalhost",
    "2130706433",
    "0x7f.1",
    "localhost@attacker.example",
    "[::1].attacker.example",
    "localhost:80:80",
    "",
]


@pytest.mark.parametrize("host", FOREIGN)
def test_other_names_are_refused(web: str, host: str) -> None:
    answer = httpx.get(f"{web}/api/v1/studies", headers={"Host": host})
    assert "PALIMPSEST_HOSTS" in problem_of(answer, 421)


@pytest.mark.parametrize(
    "path",
    ["/", "/healthz", "/static/style.css", "/events", "/nothing", "/api/v1/openapi.json"],
)
def test_other_names_are_refused_everywhere(web: str, db: Session, path: str) -> None:
    foreign = {"Host": "attacker.example"}
    answer = httpx.get(web + path, headers=foreign)
    assert answer.status_code == 421
    assert "Content-Security-Policy" in answer.headers
    slug = f"rebound-{uuid.uuid4().hex[:8]}"
    for name, value in (("Origin", "http://attacker.example"), ("X-Forwarded-Host", "localhost")):
        headers = foreign | {name: value}
        assert httpx.post(web + path, json={"slug": slug}, headers=headers).status_code == 421
    assert db.query(Study).filter_by(slug=slug).count() == 0


def test_one_foreign_name_of_two_is_enough(web: str) -> None:
    url = httpx.URL(web)
    with socket.create_connection((url.host, url.port or 80), timeout=20) as connection:
        hosts = b"Host: localhost\r\nHost: attacker.example\r\n"
        connection.sendall(b"GET /studies HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")
        status = int(connection.recv(100).split()[1])
    assert status in (400, 421)


def test_names_from_the_setting(
    servers: Servers, data_folder: Path, study: Study, db: Session
) -> None:
    names = "palimpsest.example:8443, Lab.example"
    with serving(data_folder, PALIMPSEST_HOSTS=names) as url:

        def status(host: str, **headers: str) -> int:
            path = f"{url}/studies/{study.slug}/latents/1/star"
            sent = {"Host": host} | {n.replace("_", "-"): v for n, v in headers.items()}
            return httpx.post(path, data={"on": "true"}, headers=sent).status_code

        assert status("palimpsest.example") == status("lab.example:80") == 303
        assert status("attacker.example") == 421
        # A proxy that gives its own Host: the page is of a name that the setting has.
        here = httpx.URL(url).netloc.decode()
        assert status(here, Origin="https://palimpsest.example:8443") == 303
        assert status(here, Origin="https://palimpsest.example") == 403, "another server there"
        assert status(here, Origin="https://attacker.example") == 403
        assert status("lab.example", Origin="https://lab.example") == 303
        assert status("Lab.Example", Origin="https://lab.example") == 303
        same, cross = "same-origin", "cross-site"
        origin = "https://palimpsest.example:8443"
        assert status(here, Origin=origin, Sec_Fetch_Site=same) == 303
        assert status(here, Origin=origin, Sec_Fetch_Site=cross) == 403
    with serving(data_folder, PALIMPSEST_HOSTS="*") as url:
        answer = httpx.get(f"{url}/studies", headers={"Host": "any.example"})
        assert answer.status_code == 200


# --- What people may name while accounts are on ---------------------------------------------------


@pytest.fixture(scope="module")
def allowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the operator names, with three texts; beside it a secret, and a link to it."""
    folder = tmp_path_factory.mktemp("shared") / "texts"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text("My fellow citizens. " * 400)
    secret = folder.parent / "secret"
    secret.mkdir()
    (secret / "diary.txt").write_text("dear diary")
    (folder / "link").symlink_to(secret)
    (folder / "circle").symlink_to(folder / "circle")
    return folder


ALSO = "http://also.example:8080/v1"


@pytest.fixture(scope="module")
def guarded(servers: Servers, data_folder: Path, allowed: Path) -> Iterator[httpx.Client]:
    """Asks a web server with accounts, as somebody who is signed in."""
    from models.database import new_session

    with new_session() as session:
        headers = bearer(session, add_person(session, "ann", Role.ADMIN))
    named = {"PALIMPSEST_FOLDERS": f"/nowhere,{allowed}", "PALIMPSEST_SERVERS": ALSO}
    with (
        serving(data_folder, PALIMPSEST_ACCOUNTS="true", **named) as url,
        httpx.Client(base_url=url, headers=headers, timeout=60) as client,
    ):
        yield client


@pytest.fixture
def with_accounts(monkeypatch: pytest.MonkeyPatch, allowed: Path) -> Iterator[None]:
    """The same settings in this process, as a worker has them."""
    monkeypatch.setenv("PALIMPSEST_ACCOUNTS", "true")
    monkeypatch.setenv("PALIMPSEST_FOLDERS", str(allowed))
    monkeypatch.setenv("PALIMPSEST_SERVERS", ALSO)
    get_settings.cache_clear()
    yield
    monkeypatch.undo()
    get_settings.cache_clear()


def new_study(**changes: object) -> dict[str, object]:
    return {
        "slug": f"named-{uuid.uuid4().hex[:8]}",
        "title": "Named",
        "model": "smollm2-135m-instruct",
        "coder": str(REPOSITORY / "demo" / "coder"),
        "hookpoint": "layers.10.mlp",
        "corpus": "sotu",
    } | changes


def test_what_the_operator_named_is_let_through(guarded: httpx.Client, allowed: Path) -> None:
    for corpus in ("sotu", str(allowed), f"{allowed}/../{allowed.name}"):
        made = guarded.post("/api/v1/studies", json=new_study(corpus=corpus))
        assert made.status_code == 201, made.text
        for job in guarded.get(f"/api/v1/studies/{made.json()['slug']}/jobs").json()["items"]:
            guarded.post(f"/api/v1/jobs/{job['id']}/cancel")


def _refused(answer: httpx.Response, field: str, path: str) -> str:
    """The message about a field, without the path in it."""
    assert field in problem_of(answer, 422)
    (message,) = [e["message"] for e in answer.json()["errors"] if e["field"] == field]
    return message.replace(path, "…")


@pytest.mark.parametrize("field", ["corpus", "model", "coder"])
def test_other_files_are_refused_whether_they_are_there_or_not(
    guarded: httpx.Client, allowed: Path, field: str
) -> None:
    outside = [
        "/etc/passwd",
        "/etc/no-such-file",
        "/etc",
        "~/.ssh",
        "~nobody-of-that-name/x",
        f"{allowed}/link",
        f"{allowed}/link/diary.txt",
        f"{allowed}/../secret",
        f"{allowed}/circle",
        f"{allowed}-and-more",
        "../../etc/passwd",
        "a/../../etc",
        "models/a.gguf",
    ]
    said = set()
    for path in outside:
        study = new_study(**{field: path})
        sources = {name: study[name] for name in study if name in InspectionCreate.model_fields}
        for what, body in (("studies", study), ("inspections", sources)):
            said.add(_refused(guarded.post(f"/api/v1/{what}", json=body), field, path))
    assert len(said) == 1, "the answer tells nothing of the path"
    assert "PALIMPSEST_FOLDERS" in said.pop()


def test_options_of_a_corpus_open_no_other_files(guarded: httpx.Client, allowed: Path) -> None:
    said = set()
    for place in ("/etc/passwd", "/etc", f"{allowed}/link", "tests/unit", "no.such/file.jsonl"):
        for options in ("column=text", "split=train", "documents=3", "column=a%2Fb"):
            if "jsonl" in place and "split" in options:
                continue  # a file has none
            answer = guarded.post("/api/v1/studies", json=new_study(corpus=f"{place}?{options}"))
            said.add(_refused(answer, "corpus", place))
    assert len(said) == 1, "the answer tells nothing of the path"
    assert "PALIMPSEST_FOLDERS" in said.pop()
    for corpus in (f"{allowed}?documents=50", "HuggingFaceFW/fineweb?config=sample-10BT"):
        made = guarded.post("/api/v1/studies", json=new_study(corpus=corpus))
        assert made.status_code == 201, made.text
        assert made.json()["corpus"] == corpus
        for job in guarded.get(f"/api/v1/studies/{made.json()['slug']}/jobs").json()["items"]:
            guarded.post(f"/api/v1/jobs/{job['id']}/cancel")


def test_a_hookpoint_is_no_path(guarded: httpx.Client, api: httpx.Client) -> None:
    for client, prefix in ((guarded, "/api/v1"), (api, "")):
        for hookpoint in ("/etc", "../..", "layers.10.mlp/../..", ".."):
            answer = client.post(f"{prefix}/studies", json=new_study(hookpoint=hookpoint))
            assert "name of a site" in _refused(answer, "hookpoint", hookpoint)


def test_simulators_and_explainers_name_nothing_else(
    guarded: httpx.Client, study: Study, allowed: Path
) -> None:
    trained = {"method": "two_tower", "model": "gemma-3-270m"}
    prompted = {"method": "json_reply", "model": "m"}
    for path in ("/etc", "/etc/nothing", f"{allowed}/link"):
        answer = guarded.post("/api/v1/simulators", json=trained | {"folder": path})
        assert "PALIMPSEST_FOLDERS" in _refused(answer, "folder", path)
        answer = guarded.post("/api/v1/simulators", json=prompted | {"model": path})
        assert "PALIMPSEST_FOLDERS" in _refused(answer, "model", path)
        score = {"llm": {"model": path}}
        answer = guarded.post(f"/api/v1/studies/{study.slug}/score", json=score)
        assert "PALIMPSEST_FOLDERS" in _refused(answer, "llm.model", path)
        form = {"method": "json_reply", "model": path, "backend": "transformers"}
        page = guarded.post("/simulators", data=form)
        assert page.status_code == 422
        assert "PALIMPSEST_FOLDERS" in page.text
    server = {"backend": "openai", "model": "/any/name/of/theirs"}
    for address in (
        "http://127.0.0.1:1/v1",
        "http://169.254.169.254/",
        "http://also.example:8080@x.example/v1",
    ):
        answer = guarded.post("/api/v1/simulators", json=prompted | server | {"base_url": address})
        _refused(answer, "base_url", address)
        llm = {"method": "prompted", "llm": server | {"base_url": address}}
        answer = guarded.post(f"/api/v1/studies/{study.slug}/explain", json=llm)
        _refused(answer, "llm.base_url", address)
    for address in (ALSO, "http://also.example:8080/other", "https://api.openai.com/v1", None):
        named = prompted | server | {"base_url": address}
        assert guarded.post("/api/v1/simulators", json=named).status_code == 201


def test_results_are_read_in_named_folders_only(
    guarded: httpx.Client, with_accounts: None, db: Session, study: Study, allowed: Path
) -> None:
    here = f"/api/v1/studies/{study.slug}/import/results"
    outside = delphi_run(allowed.parent / "secret" / "run", {1: "a secret"})
    for path in (str(outside), f"{allowed}/link/run", "/etc/nothing"):
        for form in ("delphi", "neuronpedia"):
            answer = guarded.post(here, json={"format": form, "path": path})
            assert "PALIMPSEST_FOLDERS" in _refused(answer, "path", path)
    run = delphi_run(allowed / "run", {0: "said"})
    name = "layers.10.mlp_latent1.txt"
    (run / "explanations" / name).symlink_to(outside / "explanations" / name)
    made = guarded.post(here, json={"format": "delphi", "path": str(run)})
    assert made.status_code == 201, made.text
    job = finish(db, made.json()["id"])
    assert job.state["failures"] == {"It is a link to a file that people may not name.": 1}
    (run / "explanations").rename(allowed / "moved")
    (run / "explanations").symlink_to(outside / "explanations")
    params = ExplainParams(method="delphi", path=str(run))
    for later in (params, params.model_copy(update={"path": str(outside)})):
        with pytest.raises(InputError, match="PALIMPSEST_FOLDERS"):
            work(db, add_job(db, study, later), study)


def test_the_worker_looks_again(with_accounts: None, allowed: Path, data_folder: Path) -> None:
    def study(**fields: Any) -> Study:
        return Study(**new_study(model_revision=None, coder_info={"sha256": ""}) | fields)

    assert resources.corpus_of(study(corpus=str(allowed))) == str(allowed)
    for load, fields in (
        (resources.corpus_of, {"corpus": f"{allowed}/link"}),
        (resources.corpus_of, {"corpus": f"{allowed}/link?split=train"}),
        (resources.subject_of, {"model": "/etc"}),
        (resources.coder_of, {"coder": "/etc"}),
    ):
        with pytest.raises(InputError, match="PALIMPSEST_FOLDERS"):
            load(study(**fields))
    question = {name: new_study()[name] for name in ("model", "coder", "corpus")}
    named.may_inspect(Question.model_validate(question))
    for field in question:
        with pytest.raises(InputError, match="PALIMPSEST_FOLDERS"):
            named.may_inspect(Question.model_validate(question | {field: "/etc"}))
    trained = Simulator(method="two_tower", model="gemma-3-270m", options={"folder": "/etc"})
    with pytest.raises(InputError, match="PALIMPSEST_FOLDERS"):
        resources.simulator_of(trained, study())
    with pytest.raises(InputError, match="PALIMPSEST_FOLDERS"):
        resources.llm_of({"backend": "vllm"}, "/etc")
    server = {"backend": "openai", "base_url": "http://127.0.0.1:1/v1"}
    with pytest.raises(InputError, match="PALIMPSEST_SERVERS"):
        resources.llm_of(server, "m")
    assert resources.llm_of(server | {"base_url": ALSO}, "/their/name").name == "/their/name"


def test_without_accounts_all_is_as_it_was(api: httpx.Client, allowed: Path) -> None:
    for corpus in (f"{allowed}/link", "/etc/passwd"):
        answer = api.post("/studies", json=new_study(corpus=corpus))
        assert "PALIMPSEST" not in answer.text
    assert "leads nowhere" in problem_of(
        api.post(
            "/simulators",
            json={"method": "two_tower", "model": "m", "folder": "~nobody-of-that-name/x"},
        ),
        422,
    )


# --- Passwords ------------------------------------------------------------------------------------


def guess(url: str, name: str, password: str, source: str = "127.0.0.1") -> httpx.Response:
    """Try to sign in from an address of this machine."""
    transport = httpx.HTTPTransport(local_address=source)
    with httpx.Client(transport=transport, timeout=120) as client:
        return client.post(f"{url}/sign-in", data={"name": name, "password": password})


def test_guessing_is_slowed_down_and_recorded(
    guarded: httpx.Client, servers: Servers, data_folder: Path, db: Session
) -> None:
    name, right = f"guessed-{uuid.uuid4().hex[:6]}", PASSWORD
    add_person(db, name, Role.EDITOR)
    url = str(guarded.base_url)
    assert guarded.get("/studies").status_code == 200
    stranger = "127.0.0.77"
    pages: list[int] = []
    done = threading.Event()

    def read_pages() -> None:
        while not done.is_set():
            pages.append(guarded.get("/studies").status_code)

    reader = threading.Thread(target=read_pages)
    reader.start()
    with ThreadPoolExecutor(64) as pool:
        guesses = [pool.submit(guess, url, name, f"wrong {i}", stranger) for i in range(64)]
        answers = [one.result() for one in guesses]
    done.set()
    reader.join()
    assert set(pages) == {200}
    looked_at = [answer for answer in answers if answer.status_code == 401]
    waiting = [answer for answer in answers if answer.status_code == 429]
    assert len(looked_at) + len(waiting) == 64
    assert 5 <= len(looked_at) <= 15, "most have to wait"
    assert all(1 <= int(answer.headers["Retry-After"]) <= 30 for answer in waiting)
    assert "Try again" in waiting[0].text

    # Another process counts on.
    with serving(data_folder, PALIMPSEST_ACCOUNTS="true") as other:
        again = [guess(other, name, f"also wrong {i}", stranger).status_code for i in range(3)]
    assert 429 in again

    # The person themselves is elsewhere, and comes in at once.
    assert guess(url, name, right, "127.0.0.78").status_code == 303
    # Who guesses is let try again, and a right password ends it.
    deadline = time.monotonic() + 60
    while (answer := guess(url, name, right, stranger)).status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(int(answer.headers["Retry-After"]))
    assert answer.status_code == 303

    log = next(
        file
        for file in (data_folder / "log").glob("own-*.log")
        if str(httpx.URL(url).port) in file.name
    ).read_text()
    assert f"'{name}' from {stranger}" in log
    assert "wrong 1" not in log and right not in log


def test_names_are_not_guessed_one_by_one(guarded: httpx.Client) -> None:
    """One password for many names, from one address."""
    url, stranger = str(guarded.base_url), "127.0.0.79"
    found = [guess(url, f"nobody-{i}-{uuid.uuid4()}", "x", stranger).status_code for i in range(45)]
    assert found[:10] == [401] * 10
    assert 429 in found


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer abc",
        "Bearer pal_" + "A" * 50_000,
        "Bearer pal_\xff",
        "pal_abc",
        "Basic YW5uOnBhc3N3b3Jk",
    ],
)
def test_what_is_no_token(guarded: httpx.Client, header: str) -> None:
    url = f"{guarded.base_url}/api/v1/studies"
    answer = httpx.get(url, headers={"Authorization": header.encode("latin-1")})
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "token" in problem_of(answer, 401)
