"""Inspections as JSON."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path

from app.services.inspections import queries
from app.services.inspections.schemas import InspectionCreate
from app.web.database import Database
from app.web.roles import needs
from interp.vocabulary import Role
from jobs import inspections
from jobs.inspections import Inspection, NotTaken

router = APIRouter(tags=["inspections"])

InspectionId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="Name of an inspection.")]


# None of these asks the database. They take one of its places, as whoever has a thread has one.
@router.post("/inspections", summary="Inspect a sparse coder", status_code=201)
@needs(Role.ADMIN)
def create_inspection(data: InspectionCreate, _: Database) -> Inspection:
    """Have a worker say what a coder's files are, and measure where in the model it fits. Ask how
    far it is once a minute at least, or it is given up. Nothing is stored."""
    try:
        return queries.begin(data)
    except NotTaken as error:
        raise HTTPException(503, str(error)) from None


@router.get("/inspections/{id}", summary="Get an inspection")
@needs(Role.ADMIN)
def get_inspection(id: InspectionId, _: Database) -> Inspection:
    """How far an inspection is, and what it has found. It is kept for an hour after its end."""
    return queries.get_inspection(id)


@router.delete("/inspections/{id}", summary="Give an inspection up", status_code=204)
@needs(Role.ADMIN)
def delete_inspection(id: InspectionId, _: Database) -> None:
    """End an inspection, and forget what it has found."""
    inspections.give_up(id)
