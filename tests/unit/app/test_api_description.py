"""The API covers what pages do, and its description is that of the code."""

import pytest

from app.describe import documents
from app.main import create_app
from app.web.reference.operations import API
from tests.routes import page_routes

STUDY = "/studies/{slug}"
LATENT = f"{STUDY}/latents/{{index}}"
EXPLAIN = ("explain", "simulate", "score")
INSPECTIONS = ("POST /inspections", "GET /inspections/{id}", "DELETE /inspections/{id}")
"""Done by buttons in the form of a study, and by ``palimpsest coder inspect``."""
COUNTERPARTS = {
    "GET /": ["GET /studies"],
    "GET /studies": ["GET /studies"],
    "GET /studies/new": [],  # a form
    "POST /studies/new": ["POST /studies", *INSPECTIONS],
    f"GET {STUDY}": [f"GET {STUDY}", f"GET {STUDY}/figures", f"GET {STUDY}/activity"],
    f"GET {STUDY}/edit": [],  # a form
    f"POST {STUDY}/edit": [f"PATCH {STUDY}", *INSPECTIONS],
    f"GET {STUDY}/delete": [f"GET {STUDY}/deletion"],
    f"POST {STUDY}/delete": [f"DELETE {STUDY}"],
    f"GET {STUDY}/rewrites/{{rewrite_id}}/delete": [f"GET {STUDY}/rewrites/{{rewrite_id}}"],
    f"POST {STUDY}/rewrites/{{rewrite_id}}/delete": [f"DELETE {STUDY}/rewrites/{{rewrite_id}}"],
    f"POST {STUDY}/generations/{{generation_id}}/delete": [
        f"DELETE {STUDY}/generations/{{generation_id}}"
    ],
    f"POST {STUDY}/sentences/{{sentence_id}}/delete": [f"DELETE {STUDY}/sentences/{{sentence_id}}"],
    "GET /jobs/{job_id}/takeback": ["GET /jobs/{job_id}/import"],
    "POST /jobs/{job_id}/takeback": ["DELETE /jobs/{job_id}/import"],
    f"GET {STUDY}/figures.csv": [f"GET {STUDY}/figures"],
    f"GET {STUDY}/budget": [f"GET {STUDY}/budget"],
    f"POST {STUDY}/budget": [f"POST {STUDY}/budget"],
    f"GET {STUDY}/budget.csv": [f"GET {STUDY}/budget"],
    f"GET {STUDY}/compare": [f"GET {STUDY}/compare"],
    f"POST {STUDY}/simulator": [f"PATCH {STUDY}"],
    f"POST {STUDY}/rewrites": [f"POST {STUDY}/rewrites"],
    f"GET {STUDY}/latents": [f"GET {STUDY}/latents"],
    f"GET {STUDY}/latents/random": [f"GET {STUDY}/latents/random"],
    f"POST {STUDY}/embed": [f"POST {STUDY}/embed"],
    f"GET {LATENT}": [f"GET {LATENT}", f"GET {LATENT}/examples", f"GET {LATENT}/explanations"],
    f"GET {LATENT}/agreement": [f"GET {LATENT}/agreement"],
    f"GET {LATENT}/compare": [f"GET {LATENT}/compare"],
    f"GET {LATENT}/errors": ["GET /explanations/{explanation_id}/errors"],
    f"GET {LATENT}/examples": [f"GET {LATENT}/examples"],
    f"POST {LATENT}/measure": [f"POST {LATENT}/measure"],
    f"GET {LATENT}/others": [f"GET {LATENT}/explanations"],
    f"GET {LATENT}/prompts": [f"GET {LATENT}/prompts"],
    f"GET {LATENT}/similar": [f"GET {LATENT}/similar"],
    f"POST {LATENT}/explanations": [f"POST {LATENT}/explanations"],
    f"POST {LATENT}/preview": [f"POST {LATENT}/preview"],
    f"POST {LATENT}/draft": [f"POST {LATENT}/draft"],
    f"POST {LATENT}/influence": [f"POST {LATENT}/influence"],
    f"POST {LATENT}/simulate": ["POST /explanations/{explanation_id}/simulate"],
    f"POST {LATENT}/comments": ["POST /explanations/{explanation_id}/comments"],
    "POST /comments/{comment_id}/delete": ["DELETE /comments/{comment_id}"],
    f"POST {LATENT}/star": [f"PUT {LATENT}/star", f"DELETE {LATENT}/star"],
    f"GET {STUDY}/lists": [f"GET {STUDY}/lists"],
    f"POST {STUDY}/lists": [f"POST {STUDY}/lists"],
    "POST /lists/{list_id}/remove": ["POST /lists/{list_id}/remove"],
    "POST /lists/{list_id}/delete": ["DELETE /lists/{list_id}"],
    f"GET {STUDY}/try": [f"GET {STUDY}/sentences"],
    f"POST {STUDY}/try": [f"POST {STUDY}/sentences"],
    f"GET {STUDY}/sentences/{{sentence_id}}": [f"GET {STUDY}/sentences/{{sentence_id}}"],
    f"GET {STUDY}/generate": [f"GET {STUDY}/generations"],
    f"POST {STUDY}/generate": [f"POST {STUDY}/generations"],
    f"GET {STUDY}/generations/{{generation_id}}": [f"GET {STUDY}/generations/{{generation_id}}"],
    f"GET {STUDY}/checks": [f"GET {STUDY}/checks"],
    f"POST {STUDY}/checks": [f"POST {STUDY}/checks"],
    f"GET {STUDY}/language": [f"GET {STUDY}/language"],
    f"POST {STUDY}/language": [f"POST {STUDY}/language"],
    f"GET {STUDY}/work": [f"POST {STUDY}/{task}/estimate" for task in EXPLAIN],
    f"POST {STUDY}/work": [f"POST {STUDY}/{task}" for task in EXPLAIN],
    f"GET {STUDY}/export": [f"GET {STUDY}/export"],
    f"POST {STUDY}/import": [f"POST {STUDY}/import"],
    f"POST {STUDY}/import/results": [f"POST {STUDY}/import/results"],
    "GET /simulators": ["GET /simulators"],
    "POST /simulators": ["POST /simulators"],
    "GET /simulators/{simulator_id}/delete": ["GET /simulators/{simulator_id}/deletion"],
    "POST /simulators/{simulator_id}/delete": ["DELETE /simulators/{simulator_id}"],
    "GET /jobs": ["GET /jobs"],
    "GET /jobs/now": ["GET /jobs"],
    f"GET {STUDY}/jobs": [f"GET {STUDY}/jobs"],
    "GET /jobs/{job_id}": ["GET /jobs/{job_id}", "GET /jobs/{job_id}/log"],
    "POST /jobs/{job_id}/again": ["POST /jobs/{job_id}/again"],
    "POST /jobs/{job_id}/cancel": ["POST /jobs/{job_id}/cancel"],
    "POST /jobs/{job_id}/retry": ["POST /jobs/{job_id}/retry"],
    "GET /events": [],  # that something changed; what, the other operations say
    "GET /patterns": [],  # sample data
    "GET /api": [],  # a list of the operations
    f"GET {STUDY}/events": [],
    "GET /sign-in": [],  # a form
    "GET /account": [],  # made for people; a program has its token
}
"""For every address of the pages, the operations by which a program does or reads the same."""


FOR_PEOPLE = {
    "POST /sign-in",
    "GET /sign-in/provider",
    "GET /sign-in/provider/callback",
    "POST /sign-out",
    "POST /account/tokens",
    "POST /account/tokens/{token_id}/revoke",
}
"""What no program may do: a stolen token that made others would outlive its revocation. The command
``palimpsest user`` does the same on the server."""


def operations() -> set[str]:
    """Every operation of the API, such as ``GET /studies/{slug}``."""
    return {
        f"{method.upper()} {path.removeprefix(API)}"
        for path, methods in create_app().openapi()["paths"].items()
        for method in methods
        if path.startswith(API)
    }


def test_whatever_a_page_does_the_api_does() -> None:
    pages = {f"{method} {path}" for path, methods in page_routes().items() for method in methods}
    assert len(pages) > 45, "the pages were looked for in the wrong place"
    assert pages > FOR_PEOPLE
    pages -= FOR_PEOPLE
    assert pages - COUNTERPARTS.keys() == set(), "name its operation of the API in the table above"
    assert COUNTERPARTS.keys() - pages == set(), "the table above names pages that are no more"
    named = {operation for made in COUNTERPARTS.values() for operation in made}
    assert named - operations() == set(), "the API has no such operation"
    for page, made in COUNTERPARTS.items():
        assert made or page.startswith("GET "), f"{page} changes something that the API does not"


def test_every_operation_says_what_it_does() -> None:
    for path, methods in create_app().openapi()["paths"].items():
        for method, operation in methods.items():
            if path.startswith(API):
                assert operation.get("summary"), f"{method} {path} has no summary"
                assert operation.get("description"), f"{method} {path} has no description"


def test_the_lists_in_the_docs_are_those_of_the_code() -> None:
    for path, text in documents().items():
        if path.read_text(encoding="utf-8") != text:
            pytest.fail(f"{path.name} is out of date. Run `python -m app.describe`.")
