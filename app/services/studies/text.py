"""Faults of a study's text, and facts about it that are unknown."""

from sqlalchemy import Text, cast, exists, func, select
from sqlalchemy.orm import Session, aliased

from interp.corpus.documents import TEXT_VERSION
from models import Context, Study

_CONTROL = (
    r', "(<\|[a-z0-9_]+\|>|</?s>|<(bos|eos|pad|unk|start_of_turn|end_of_turn)>'
    r'|\[(CLS|SEP|PAD|MASK)\])"'
)
"""Names of control tokens as whole tokens of a context, behind its first one."""

_FAULTS: dict[int, list[str]] = {}
"""By study. The contexts of a collected study never change."""


def text_doubts(session: Session, study: Study) -> list[str]:
    """Sentences about a study's text for its pages; none where nothing is wrong."""
    info = study.coder_info
    doubts = []
    if seen := info.get("coder_seen"):
        more = len(seen) - 1
        others = f" and {more:,} other{'s' if more > 1 else ''}" if more else ""
        doubts.append(
            "The coder was trained on documents of the calibrate and evaluate sets: "
            f"“{seen[0]}”{others}."
        )
    if info and info.get("text_version", 1) < TEXT_VERSION:
        if study.id not in _FAULTS:
            _FAULTS[study.id] = _faults(session, study)
        doubts += _FAULTS[study.id]
    return doubts


def _faults(session: Session, study: Study) -> list[str]:
    """The faults that an earlier version left in a study's text."""
    strings = cast(Context.strings, Text)
    contexts, pieces, spaced, control = session.execute(
        select(
            func.count(),
            func.count().filter(strings.contains("\ufffd")),
            func.count().filter(strings.contains('" ')),
            func.count().filter(strings.regexp_match(_CONTROL)),
        ).where(Context.study_id == study.id)
    ).one()
    explain, measured = aliased(Context), aliased(Context)
    copied, held_out = session.execute(
        select(
            func.count().filter(
                exists().where(
                    explain.study_id == study.id,
                    explain.set == "explain",
                    explain.tokens == measured.tokens,
                )
            ),
            func.count(),
        ).where(measured.study_id == study.id, measured.set != "explain")
    ).one()
    found = []
    if copied:
        found.append(
            f"{copied:,} of the {held_out:,} calibrate and evaluate contexts stand in the explain "
            "set word for word. Scores and losses on them do not hold for new text."
        )
    if pieces:
        found.append(f"{pieces:,} of {contexts:,} contexts show pieces of characters as �.")
    if contexts and not spaced:
        found.append("The tokens have lost their spaces, on these pages and in every prompt.")
    if control:
        found.append(
            "The names of control tokens, which stood in documents, became those tokens in "
            f"{control:,} of {contexts:,} contexts."
        )
    # The State of the Union addresses have no copies among them.
    if found or study.corpus != "sotu":
        found.append("Nearly equal documents under different names were not looked for.")
    return found
