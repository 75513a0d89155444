"""Addresses: the table of paths says what the routes say."""

import re

from app.main import create_app
from app.web.urls import PATHS, url
from tests.routes import page_routes


def test_every_page_has_a_name_and_every_name_a_page() -> None:
    pages = {re.sub(r"\{\w+\}", "{}", path) for path in page_routes()}
    api = {re.sub(r"\{\w+\}", "{}", path) for path in create_app().openapi()["paths"]}
    named = {path for path in PATHS.values() if not path.startswith("/api/")}
    assert named == pages
    assert set(PATHS.values()) - named - api == {"/api/v1/openapi.json"}
    assert len(set(PATHS.values())) == len(PATHS), "two names of one page"


def test_parts_and_fields_are_quoted() -> None:
    assert url("latent", "a-study", 7) == "/studies/a-study/latents/7"
    assert url("study", "a/b?c") == "/studies/a%2Fb%3Fc"
    asked = url("latents", "s", q="a&b", edited=True, after=None, show=["loss_effect", "author"])
    assert asked == "/studies/s/latents?q=a%26b&edited=true&show=loss_effect&show=author"
