"""What people say of explanations."""

from collections.abc import Sequence

from sqlalchemy import ARRAY, BigInteger, any_, bindparam, select
from sqlalchemy.orm import Session

from app.services.errors import Forbidden, NotFound
from jobs.events import publish as tell
from models import Comment, Explanation, Latent, Study

_COMMENTS = (
    select(Comment)
    .where(Comment.explanation_id == any_(bindparam("explanations", type_=ARRAY(BigInteger))))
    .order_by(Comment.id)
)


def list_comments(session: Session, explanation_ids: Sequence[int]) -> list[Comment]:
    """Comments on some explanations, oldest first."""
    if not explanation_ids:
        return []
    return list(session.scalars(_COMMENTS, {"explanations": list(explanation_ids)}))


def add_comment(
    session: Session, study: Study, explanation: Explanation, text: str, user: str
) -> Comment:
    """Say something of an explanation. Commits the session.

    Args:
        text: Already cleaned.
    """
    comment = Comment(explanation_id=explanation.id, author=user, text=text)
    session.add(comment)
    session.commit()
    tell(study.id, "latent", explanation.latent_id)
    return comment


def delete_comment(session: Session, comment_id: int, user: str) -> tuple[Study, Latent]:
    """Take a comment back. Commits the session.

    Returns:
        What it was about.

    Raises:
        NotFound: There is no such comment.
        Forbidden: It is somebody else's.
    """
    comment = session.get(Comment, comment_id)
    if comment is None:
        raise NotFound(f"There is no comment {comment_id}; it may have been deleted.")
    if comment.author != user:
        raise Forbidden(f"Only {comment.author}, who wrote it, can delete this comment.")
    explanation = session.get_one(Explanation, comment.explanation_id)
    latent = session.get_one(Latent, explanation.latent_id)
    study = session.get_one(Study, latent.study_id)
    session.delete(comment)
    session.commit()
    tell(study.id, "latent", latent.id)
    return study, latent
