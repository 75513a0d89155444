"""An export of a study out of the database."""

import json
from collections.abc import Generator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.services.errors import Conflict
from app.services.exports import delphi, neuronpedia
from app.services.exports.files import Open, in_folder, writing, zipped
from app.services.exports.imports import NO_LATENTS
from app.services.exports.schemas import ExportQuery
from app.services.exports.tables import TABLES
from app.services.latents.stored import store_of
from app.services.simulators.independence import StudySimulator, as_seen, assess
from app.services.studies.queries import get_study
from app.services.studies.schemas import StudyOut
from models import Explanation, Latent, Score, Simulation, Simulator, Study
from models.database import PROGRAM, Purpose, new_session

FORMAT = 1
"""Raise it with every change that readers of an export must know of."""
LAYOUTS = {"delphi": delphi.write, "neuronpedia": neuronpedia.write}
"""The layouts of other tools. What they have no place for is left out."""
ZIPPED = 200_000
"""Explanations of a zip in Delphi's layout, at most: the list of its files is held in memory."""
DOWNLOADS = 4
"""Exports that a process sends at once."""
DOWNLOAD = Purpose("palimpsest export", connections=DOWNLOADS, more=0, idle_seconds=900)
"""Connections of their own: however slowly clients read, pages have theirs."""


def download(slug: str, wanted: ExportQuery) -> Generator[bytes]:
    """An export as one zip, in pieces. Memory is bounded by a block of rows.

    It holds a connection until it is read to its end or closed.
    """
    return zipped(lambda open_: _write(slug, wanted, open_, DOWNLOAD), slug)


def check(study: Study, wanted: ExportQuery) -> None:
    """See that an export can be made, before its first byte is sent.

    Raises:
        Conflict: The layout needs latents, and the study has none yet.
        StoreError: The layout has activations, and they are missing or damaged.
    """
    if wanted.format in LAYOUTS and "num_latents" not in study.coder_info:
        raise Conflict(NO_LATENTS.format(study.slug))
    if wanted.format == "delphi":
        store_of(study, "explain").check()


def check_download(study: Study, wanted: ExportQuery) -> None:
    """See that an export can be made and sent, before its first byte is sent.

    Raises:
        Conflict, StoreError: As :func:`check`, or the zip would list too many files.
    """
    latents = study.coder_info.get("num_latents", 0)
    if wanted.format == "delphi" and latents > ZIPPED:
        raise Conflict(
            f"Study {study.slug} has {latents:,} latents. Delphi’s layout has a file for each, and "
            f"a zip may have {ZIPPED:,}: use `palimpsest export --format delphi`."
        )
    check(study, wanted)


def export(slug: str, wanted: ExportQuery, folder: Path) -> Generator[None]:
    """Write an export to a folder; stops after each block of rows."""
    return _write(slug, wanted, in_folder(folder), PROGRAM)


def _write(slug: str, wanted: ExportQuery, open_: Open, purpose: Purpose) -> Generator[None]:
    """Write the tables, then ``study.json`` with where they come from."""
    with new_session(purpose=purpose) as session:
        # All tables show the study at one moment, whatever workers save meanwhile.
        isolated = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        session.connection(execution_options=isolated)
        study = get_study(session, slug)
        form = wanted.format
        if form == "delphi" or form == "neuronpedia":
            yield from LAYOUTS[form](session, study, wanted, open_)
            return
        files: dict[str, Any] = {}
        for name in wanted.parts:
            table = TABLES[name]
            rows = 0
            query = table.query(study, wanted).execution_options(yield_per=table.at_once)
            file = f"{name}.{form}"
            with open_(file) as out, writing(table, form, out) as write:
                for part in session.execute(query).partitions():
                    block = table.block(part)
                    write(block)
                    rows += block.num_rows
                    yield
            files[name] = {
                "file": file,
                "rows": rows,
                "about": table.about,
                "columns": {column.name: column.about for column in table.columns},
            }
        with open_("study.json") as out:
            record = json.dumps(_record(session, study, wanted, files), indent=2)
            out.write(record.encode() + b"\n")
        yield


def _record(
    session: Session, study: Study, wanted: ExportQuery, files: dict[str, Any]
) -> dict[str, Any]:
    """The origin of the tables, so that every figure in them can be reproduced."""
    return {
        "format": FORMAT,
        "palimpsest": version("palimpsest"),
        "exported_at": datetime.now(UTC).isoformat(),
        "study": StudyOut.model_validate(study).model_dump(mode="json"),
        "latents": wanted.in_words() or "all",
        "filter": wanted.filter(),
        "simulators": [
            as_seen(study, one).model_dump(mode="json") for one in _simulators(session, study)
        ],
        "tables": files,
    }


def _simulators(session: Session, study: Study) -> list[StudySimulator]:
    """The study's simulator, and all others that its explanations were simulated or scored with."""
    used = (
        select(made.simulator_id)
        .join(Explanation, Explanation.id == made.explanation_id)
        .join(Latent, Latent.id == Explanation.latent_id)
        .where(Latent.study_id == study.id, made.simulator_id.is_not(None))
        for made in (Simulation, Score)
    )
    wanted = Simulator.id.in_(next(used).union(next(used)))
    query = select(Simulator).where(wanted | (Simulator.id == study.simulator_id))
    return [
        StudySimulator(simulator, assess(session, study, simulator))
        for simulator in session.scalars(query.order_by(Simulator.id))
    ]


def amounts(session: Session, study: Study) -> dict[str, int]:
    """The number of explanations and simulations to export."""
    of = select(func.count()).select_from(Explanation)
    of = of.join(Latent, Latent.id == Explanation.latent_id).where(Latent.study_id == study.id)
    simulated = of.join(Simulation, Simulation.explanation_id == Explanation.id)
    return {
        "explanations": session.scalar(of) or 0,
        "simulations": session.scalar(simulated) or 0,
    }
