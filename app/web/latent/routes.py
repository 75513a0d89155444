"""All modules of the room that have pages, or do what their buttons ask for."""

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

MODULES = (pages, examples, actions, compare, worst, preview, agreement, similar, prompts)
