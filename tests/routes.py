"""The addresses of the pages, as the app declares them."""

import importlib
import pkgutil

from fastapi.routing import APIRoute

import app


def page_routes() -> dict[str, set[str]]:
    """Every address of a page, with its methods."""
    found: dict[str, set[str]] = {}
    for module in pkgutil.walk_packages(app.__path__, "app."):
        router = getattr(importlib.import_module(module.name), "router", None)
        if router is None or module.name.endswith("api"):
            continue
        for route in router.routes:
            assert isinstance(route, APIRoute)
            found.setdefault(route.path, set()).update(route.methods)
    return found
