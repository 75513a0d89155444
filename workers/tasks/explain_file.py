"""Explanations that were written elsewhere become versions of their latents."""

from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.errors import InputError
from interp.explain.files import Line, Written, read
from models import Explanation, Job, Latent, Study
from workers.jobs import Progress
from workers.queue import publish
from workers.tasks.explanations import add

BLOCK = 256
"""Explanations added before the job is saved."""
AT_ONCE = 16 * BLOCK
"""Explanations of the file that are held at once."""


def run(session: Session, job: Job, study: Study) -> Iterator[Progress]:
    """Add the explanations of a file that the study does not have yet.

    The study has one if a version of the same latent has its text and its author; a text that
    stands in the file twice becomes two versions. Versions of one latent keep their order.

    Raises:
        InputError: A line is no explanation, or is of a latent that the study does not have.
    """
    path = Path(job.params["path"])
    query = select(Latent.index, Latent.id).where(Latent.study_id == study.id)
    latents: dict[int, int] = {index: identity for index, identity in session.execute(query)}
    total = 0
    for line in _read(path):
        total += 1
        if line.written.latent not in latents:
            raise InputError(
                f"{path.name}, {line.where}, explains latent {line.written.latent}, "
                "which the study has not."
            )
    there = _there(session, study)
    done = 0
    lines = _read(path)
    while part := list(islice(lines, AT_ONCE)):
        new = [line.written for line in part if not _take(there, line.written)]
        done += len(part) - len(new)
        for block in _blocks(new):
            of = Latent.id.in_([latents[written.latent] for written in block])
            found = session.execute(select(Latent.id, Latent.explanation_id).where(of))
            current = {identity: explanation for identity, explanation in found}
            add(
                session,
                [
                    {
                        "latent_id": latents[written.latent],
                        "text": written.text,
                        "author_kind": written.author_kind,
                        "author": written.author,
                        "prompt_version": written.prompt_version,
                        "parent_id": current[latents[written.latent]],
                        "details": {"imported_by": job.created_by, "import": job.id},
                    }
                    for written in block
                ],
            )
            session.commit()
            publish(study.id, "latents")
            done += len(block)
            yield Progress(done, total, "explanations", f"reading {path.name}")
        if not new:
            yield Progress(done, total, "explanations", f"reading {path.name}; no new ones")


def _read(path: Path) -> Iterator[Line]:
    try:
        with path.open("rb") as file:
            yield from read(file, path.name)
    except FileNotFoundError:
        raise InputError(
            f"The file of this import, {path.name}, is not kept any more: import it again."
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.") from None


def _there(session: Session, study: Study) -> Counter[bytes]:
    """How often the study has each explanation, by its digest: a study may have a million."""
    query = select(Latent.index, Explanation.text, Explanation.author)
    query = query.join(Latent, Latent.id == Explanation.latent_id)
    found = session.execute(
        query.where(Latent.study_id == study.id).execution_options(yield_per=BLOCK)
    )
    return Counter(_digest(*row) for row in found)


def _digest(index: int, text: str, author: str) -> bytes:
    return blake2b(f"{index}\n{author}\n{text}".encode(), digest_size=16).digest()


def _take(there: Counter[bytes], written: Written) -> bool:
    """Whether an explanation is there already; one that is counts for one line of the file."""
    same = _digest(written.latent, written.text, written.author)
    if not there[same]:
        return False
    there[same] -= 1
    return True


def _blocks(new: list[Written]) -> Iterator[list[Written]]:
    """Blocks in which no latent comes twice: each version is written upon the one before it."""
    rounds: dict[int, list[Written]] = {}
    seen: Counter[int] = Counter()
    for written in new:
        rounds.setdefault(seen[written.latent], []).append(written)
        seen[written.latent] += 1
    for one in rounds.values():
        for start in range(0, len(one), BLOCK):
            yield one[start : start + BLOCK]
