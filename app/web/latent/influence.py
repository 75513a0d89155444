"""Which words of the text in the edit box do the work, and which changes would help."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.services.explanations.drafts import influence_request
from app.web.latent.answered import Number, Tab, answered_part
from app.web.params import Index, Slug
from app.web.templates import render
from interp import cleaning
from jobs.drafts import Difference
from jobs.influence import InfluenceAnswer, InfluenceRequest
from models import Latent, Study

router = APIRouter()


class Piece(NamedTuple):
    """A piece of the text: a word, or what stands between two."""

    text: str
    is_word: bool = False
    influence: Difference | None = None
    share: float = 0.0
    """Its influence by the largest one of the text, from 0 to 1, whatever its sign."""

    @property
    def sure(self) -> bool:
        """True if the interval of the influence leaves out zero."""
        one = self.influence
        if one is None or one.low is None or one.high is None:
            return False
        return one.low > 0 or one.high < 0


class InfluenceView(NamedTuple):
    """The words with their influence, and the suggestions."""

    problem: str
    """The reason why there is nothing. Empty if there is something."""
    answer: InfluenceAnswer | None = None
    pieces: Sequence[Piece] = ()


@router.post("/studies/{slug}/latents/{index}/influence")
async def influence_part(
    request: Request,
    slug: Slug,
    index: Index,
    text: Annotated[str, Form()] = "",
    tab: Tab = "",
    number: Number = 0,
) -> Response:
    """The influence of the words, as far as it is measured. While there is more, ask again."""

    def question(session: Session, study: Study, latent: Latent) -> InfluenceRequest:
        return influence_request(session, study, latent, cleaning.explanation(text))

    answered = await answered_part(
        request,
        (slug, index),
        "influence",
        question,
        InfluenceAnswer,
        lambda reason: _part(request, InfluenceView(reason)),
        tab=tab,
        number=number,
    )
    return answered if isinstance(answered, Response) else _part(request, _view(answered[1]))


def _part(request: Request, view: InfluenceView) -> HTMLResponse:
    return render(request, "pages/latent/influence.html", {"view": view})


def _view(answer: InfluenceAnswer) -> InfluenceView:
    if answer.correlation is None:
        return InfluenceView("The correlation of this text is not defined.")
    return InfluenceView("", answer, _pieces(answer))


def _pieces(answer: InfluenceAnswer) -> list[Piece]:
    values = [one.influence.value for one in answer.words if one.influence is not None]
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    pieces: list[Piece] = []
    end = 0
    for word in answer.words:
        value = word.influence.value if word.influence is not None else None
        share = abs(value) / largest if value is not None and largest > 0 else 0.0
        pieces.append(Piece(answer.text[end : word.start]))
        pieces.append(Piece(answer.text[word.start : word.end], True, word.influence, share))
        end = word.end
    return [*pieces, Piece(answer.text[end:])]
