"""The addresses of all pages: the one place where templates and Python look them up."""

from urllib.parse import quote, urlencode

_STUDY = "/studies/{}"
_LATENT = "/studies/{}/latents/{}"

PATHS = {
    "home": "/",
    "events": "/events",
    "patterns": "/patterns",
    "studies": "/studies",
    "new_study": "/studies/new",
    "simulators": "/simulators",
    "delete_simulator": "/simulators/{}/delete",
    # A study
    "study": _STUDY,
    "edit_study": f"{_STUDY}/edit",
    "delete_study": f"{_STUDY}/delete",
    "study_events": f"{_STUDY}/events",
    "study_simulator": f"{_STUDY}/simulator",
    "rewrites": f"{_STUDY}/rewrites",
    "delete_rewrite": f"{_STUDY}/rewrites/{{}}/delete",
    "compare_rewrites": f"{_STUDY}/compare",
    "figures_csv": f"{_STUDY}/figures.csv",
    "export": f"{_STUDY}/export",
    "import": f"{_STUDY}/import",
    "import_results": f"{_STUDY}/import/results",
    "checks": f"{_STUDY}/checks",
    "language": f"{_STUDY}/language",
    "budget": f"{_STUDY}/budget",
    "budget_csv": f"{_STUDY}/budget.csv",
    "work": f"{_STUDY}/work",
    "try": f"{_STUDY}/try",
    "sentence": f"{_STUDY}/sentences/{{}}",
    "delete_sentence": f"{_STUDY}/sentences/{{}}/delete",
    "generate": f"{_STUDY}/generate",
    "generation": f"{_STUDY}/generations/{{}}",
    "delete_generation": f"{_STUDY}/generations/{{}}/delete",
    # Its latents
    "latents": f"{_STUDY}/latents",
    "random_latent": f"{_STUDY}/latents/random",
    "embed": f"{_STUDY}/embed",
    "lists": f"{_STUDY}/lists",
    "remove_from_list": "/lists/{}/remove",
    "delete_list": "/lists/{}/delete",
    "latent": _LATENT,
    "star": f"{_LATENT}/star",
    "examples": f"{_LATENT}/examples",
    "explanations": f"{_LATENT}/explanations",
    "others": f"{_LATENT}/others",
    "preview": f"{_LATENT}/preview",
    "draft": f"{_LATENT}/draft",
    "influence": f"{_LATENT}/influence",
    "simulate": f"{_LATENT}/simulate",
    "measure": f"{_LATENT}/measure",
    "errors": f"{_LATENT}/errors",
    "compare": f"{_LATENT}/compare",
    "comments": f"{_LATENT}/comments",
    "delete_comment": "/comments/{}/delete",
    "agreement": f"{_LATENT}/agreement",
    "similar": f"{_LATENT}/similar",
    "prompts": f"{_LATENT}/prompts",
    # Jobs
    "jobs": "/jobs",
    "jobs_now": "/jobs/now",
    "study_jobs": f"{_STUDY}/jobs",
    "job": "/jobs/{}",
    "cancel": "/jobs/{}/cancel",
    "retry": "/jobs/{}/retry",
    "again": "/jobs/{}/again",
    "takeback": "/jobs/{}/takeback",
    "api": "/api",
    # Accounts
    "sign_in": "/sign-in",
    "sign_in_at_provider": "/sign-in/provider",
    "provider_callback": "/sign-in/provider/callback",
    "sign_out": "/sign-out",
    "account": "/account",
    "tokens": "/account/tokens",
    "revoke_token": "/account/tokens/{}/revoke",
    # What pages use of the API
    "openapi": "/api/v1/openapi.json",
    "api_export": f"/api/v1{_STUDY}/export",
    "api_figures": f"/api/v1{_STUDY}/figures",
    "api_budget": f"/api/v1{_STUDY}/budget",
}
"""Path of each page, with a place for each of its parts. A test holds it against the routes."""


def url(page: str, /, *parts: str | int, **query: object) -> str:
    """The address of a page.

    Args:
        page: Its name in :data:`PATHS`.
        parts: The variables of its path, in order: the slug of a study, the index of a latent.
        query: Its other fields. Those that are None are left out.
    """
    path = PATHS[page].format(*[quote(str(part), safe="") for part in parts])
    return path + with_query(query)


def with_query(fields: dict[str, object]) -> str:
    """The query of an address, with its question mark. Empty without a field."""
    named = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in fields.items()
        if value is not None
    }
    return f"?{urlencode(named, doseq=True)}" if named else ""
