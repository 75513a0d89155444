"""The web server: pages, the JSON API under /api/v1, and events."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.web import events, styles
from app.web.account import pages as account_pages
from app.web.account import provider, sign_in
from app.web.activity import api as activity_api
from app.web.budget import api as budget_api
from app.web.budget import pages as budget_pages
from app.web.checks import api as checks_api
from app.web.checks import pages as checks_pages
from app.web.compression import compressed
from app.web.database import HEALTH, THREADS, WEB
from app.web.errors import PROBLEMS, add_handlers
from app.web.explanations import api as explanations_api
from app.web.exports import api as exports_api
from app.web.exports import pages as exports_pages
from app.web.generations import api as generations_api
from app.web.generations import pages as generations_pages
from app.web.guard.hosts import known_hosts
from app.web.guard.limits import limited
from app.web.guard.people import permitted
from app.web.guard.security import same_site, security_headers
from app.web.inspections import api as inspections_api
from app.web.jobs import api as jobs_api
from app.web.jobs import pages as jobs_pages
from app.web.language import api as language_api
from app.web.language import pages as language_pages
from app.web.latent import api as latent_api
from app.web.latent import draft as latent_draft
from app.web.latent import influence as latent_influence
from app.web.latent import routes as latent_room
from app.web.latents import api as latents_api
from app.web.latents import pages as latents_pages
from app.web.lists import api as lists_api
from app.web.lists import pages as lists_pages
from app.web.patterns import pages as patterns_pages
from app.web.reference import pages as reference_pages
from app.web.reference.operations import API
from app.web.rewrites import api as rewrites_api
from app.web.rewrites import pages as rewrites_pages
from app.web.sentences import api as sentences_api
from app.web.sentences import pages as sentences_pages
from app.web.simulators import api as simulators_api
from app.web.simulators import pages as simulators_pages
from app.web.studies import api as studies_api
from app.web.studies import pages as studies_pages
from app.web.work import api as work_api
from app.web.work import pages as work_pages
from jobs.events import get_redis
from models.database import new_session
from models.shipped import STATIC


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    # A thread for each place, and so for each connection: nobody who has one waits for another.
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    # What is loaded by now stays. To look through all of it for what nobody needs any more takes
    # 0.1 s, in which nothing is answered; requests leave little behind.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
    yield


def create_app() -> FastAPI:
    """The web application. Needs ``DATABASE_URL`` and ``REDIS_URL`` once it is asked for data."""
    app = FastAPI(
        title="Palimpsest",
        version="1",
        lifespan=_lifespan,
        summary="Rewrite latents of a language model in plain English, and see what it costs.",
        openapi_url=f"{API}/openapi.json",
        # The built-in documentation pages load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(limited)
    app.add_middleware(known_hosts)
    app.add_middleware(security_headers)
    app.add_middleware(compressed)
    add_handlers(app)

    guards = [Depends(same_site), Depends(permitted)]
    api = APIRouter(prefix=API, dependencies=guards, responses=PROBLEMS)
    for module in (
        studies_api,
        inspections_api,
        latents_api,
        latent_api,
        lists_api,
        explanations_api,
        rewrites_api,
        budget_api,
        generations_api,
        sentences_api,
        activity_api,
        checks_api,
        language_api,
        simulators_api,
        exports_api,
        work_api,
        jobs_api,
    ):
        api.include_router(module.router)
    head = [*guards, Depends(jobs_pages.jobs_in_head)]
    pages = APIRouter(dependencies=head, include_in_schema=False)
    for module in (
        events,
        studies_pages,
        latents_pages,
        *latent_room.MODULES,
        lists_pages,
        rewrites_pages,
        budget_pages,
        generations_pages,
        sentences_pages,
        checks_pages,
        language_pages,
        simulators_pages,
        exports_pages,
        work_pages,
        jobs_pages,
        patterns_pages,
        reference_pages,
        account_pages,
    ):
        pages.include_router(module.router)

    # Who signs in is not known yet.
    door = APIRouter(dependencies=[Depends(same_site)], include_in_schema=False)
    door.include_router(sign_in.router)
    door.include_router(provider.router)

    # They have no head, whose session would be open while the worker computes.
    drafts = APIRouter(dependencies=guards, include_in_schema=False)
    drafts.include_router(latent_draft.router)
    drafts.include_router(latent_influence.router)

    # Routes are tried in turn, and people wait for pages.
    app.include_router(pages)
    app.include_router(drafts)
    app.include_router(door)
    app.include_router(api)
    app.add_api_route("/healthz", health, tags=["health"], response_class=JSONResponse)
    app.add_api_route(styles.PATH, styles.style_sheet, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


async def health() -> JSONResponse:
    """Ping PostgreSQL and Redis: 200 if both answer, 503 if not."""
    async with HEALTH.one():
        return await run_in_threadpool(_health)


def _health() -> JSONResponse:
    checks = {}
    try:
        with new_session(reads=True, purpose=WEB) as session:
            session.execute(text("SELECT 1"))
        checks["postgresql"] = "ok"
    except (SQLAlchemyError, RuntimeError) as error:
        checks["postgresql"] = _reason(error)
    try:
        get_redis().ping()
        checks["redis"] = "ok"
    except (RedisError, RuntimeError) as error:
        checks["redis"] = _reason(error)
    well = all(state == "ok" for state in checks.values())
    return JSONResponse({"status": "ok" if well else "unavailable", **checks}, 200 if well else 503)


def _reason(error: Exception) -> str:
    """The kind of an error; its text may hold a password."""
    return f"cannot be used ({type(error).__name__})"


app = create_app()
