"""The page of simulators, and the choice of one for a study."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.services.deletion import simulators as deletion
from app.services.errors import Conflict, FieldErrors
from app.services.simulators import adding, queries
from app.services.simulators.schemas import SimulatorCreate
from app.services.studies.queries import get_study, list_studies, use_simulator
from app.web.database import Database
from app.web.errors import messages
from app.web.forms import form_fields
from app.web.params import Slug
from app.web.roles import needs
from app.web.simulators.api import SimulatorId
from app.web.templates import render
from app.web.urls import url
from interp.errors import InputError
from interp.llm.registry import BACK_ENDS, servers
from interp.simulate.registry import SIMULATORS, trained
from interp.vocabulary import Role
from models import Simulator, Study

router = APIRouter()


@router.get("/simulators")
def list_simulators(
    request: Request,
    session: Database,
    study: Annotated[str, Query(max_length=80, pattern=r"^[a-z0-9-]*$")] = "",
) -> HTMLResponse:
    """All simulators, and the form to add one.

    Args:
        study: Whose pages the head links to.
    """
    return _page(request, session, {}, {}, study=get_study(session, study) if study else None)


@router.post("/simulators")
@needs(Role.ADMIN)
def add_simulator(
    request: Request, values: Annotated[dict[str, str], Depends(form_fields)], session: Database
) -> Response:
    """The button “Add”: the list with the new one, or the form with what was wrong."""
    filled = {name: value for name, value in values.items() if value.strip()}
    if filled.get("method") in trained():
        # These fields are hidden for a trained one; what was left in them is not meant.
        filled = {n: v for n, v in filled.items() if n in ("method", "model", "folder")}
    else:
        filled.pop("folder", None)
    try:
        simulator = adding.add_simulator(session, SimulatorCreate.model_validate(filled))
    except ValidationError as error:
        return _page(request, session, values, messages(error), 422)
    except FieldErrors as error:
        return _page(request, session, values, error.errors, 422)
    except InputError as error:
        return _page(request, session, values, {"folder": str(error)}, 422)
    except Conflict as error:
        return _page(request, session, values, {"folder": str(error)}, 409)
    return RedirectResponse(f"{url('simulators')}#simulator-{simulator.id}", 303)


@router.get("/simulators/{simulator_id}/delete")
@needs(Role.ADMIN)
def confirm_deletion(
    request: Request, simulator_id: SimulatorId, session: Database
) -> HTMLResponse:
    """The page that lists the rows deleted with a simulator, with the button that deletes it."""
    return _confirm(request, session, queries.get_simulator(session, simulator_id))


@router.post("/simulators/{simulator_id}/delete")
@needs(Role.ADMIN)
def delete(request: Request, simulator_id: SimulatorId, session: Database) -> Response:
    """The button “Delete the simulator”: the list without it, or why that cannot be."""
    simulator = queries.get_simulator(session, simulator_id)
    try:
        deletion.delete_simulator(session, simulator)
    except Conflict:
        return _confirm(request, session, simulator, 409)
    return RedirectResponse(url("simulators"), 303)


def _confirm(
    request: Request, session: Session, simulator: Simulator, status: int = 200
) -> HTMLResponse:
    found = deletion.hanging(session, simulator)
    context = {
        "simulator": simulator,
        "hanging": found,
        "obstacle": deletion.obstacle(found),
    }
    return render(request, "pages/simulator_delete.html", context, status)


@router.post("/studies/{slug}/simulator")
@needs(Role.ADMIN)
def choose(
    slug: Slug, session: Database, simulator_id: Annotated[int, Form(ge=1, lt=2**63)]
) -> RedirectResponse:
    """The button “Use” on a study's page."""
    use_simulator(session, get_study(session, slug), simulator_id)
    return RedirectResponse(url("study", slug), 303)


def _page(
    request: Request,
    session: Session,
    values: dict[str, Any],
    errors: dict[str, str],
    status: int = 200,
    study: Study | None = None,
) -> HTMLResponse:
    context = {
        "study": study,
        "simulators": queries.list_simulators(session),
        "studies": list_studies(session),
        "fields": SimulatorCreate.model_fields,
        "methods": SIMULATORS,
        "trained": trained(),
        "backends": BACK_ENDS,
        "servers": servers(),
        "values": {"method": SIMULATORS.default, "backend": BACK_ENDS.default, **values},
        "errors": errors,
    }
    return render(request, "pages/simulators.html", context, status)
