"""The function that answers each kind of request. Imports torch.

:mod:`jobs.requests` says how to add one.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel
from sqlalchemy.orm import Session

from models import Study
from workers.interactive.influence import find_influence
from workers.interactive.preview import preview_draft

Answering = Callable[[Session, Study, Any], BaseModel]
"""Takes a session that reads, the study, and a request of the type in ``jobs.requests.REQUESTS``.

It takes well under a second once the models are loaded, as nothing else is answered meanwhile. An
:class:`~interp.errors.InputError` of it reaches the person who asks.
"""

ANSWERS: Mapping[str, Answering] = {
    "draft": preview_draft,
    "influence": find_influence,
}
