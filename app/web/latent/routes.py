"""All pages of the room, and what their buttons do."""

from fastapi import APIRouter

from app.web.latent import (
    actions,
    agreement,
    compare,
    examples,
    pages,
    preview,
    prompts,
    similar,
    worst,
)

router = APIRouter()
for module in (pages, examples, actions, compare, worst, preview, agreement, similar, prompts):
    router.include_router(module.router)
