"""The prompt that an explainer is sent, in a browser."""

from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.latents.prompts import prompts
from interp.explain.prompts import CONTRASTIVE, PROMPTED, Shown, contrastive, prompted
from models import Context, Example, Study
from tests.factories import LENGTH
from tests.reading import latent_of


def test_what_the_explainer_reads_is_what_it_is_sent(
    web: str, db: Session, study: Study, browser_page: Page
) -> None:
    latent = latent_of(db, study, 0)
    examples = db.execute(
        select(Context.strings, Example.activations)
        .join(Example, Example.context_id == Context.id)
        .where(Example.latent_id == latent.id, Example.kind != "random")
        .order_by(Example.kind.desc())
    ).all()
    chat = prompted(
        [Shown(*row) for row in examples], maximum=latent.max_activation, first_position=1
    )
    shown = {prompt.version: prompt for prompt in prompts(db, study, latent)}
    assert shown[PROMPTED].chat == chat
    assert shown[CONTRASTIVE].chat == [] and "no hard negative" in shown[CONTRASTIVE].problem
    silent = db.scalars(select(Context).filter_by(study_id=study.id).offset(5).limit(1)).one()
    db.add(
        Example(
            latent_id=latent.id,
            context_id=silent.id,
            kind="hard_negative",
            rank=0,
            activations=[0.0] * LENGTH,
        )
    )
    db.commit()
    contrasted = contrastive(
        [Shown(*row) for row in examples],
        [silent.strings],
        maximum=latent.max_activation,
        first_position=1,
    )
    chat = [*chat, *contrasted]
    browser_page.goto(f"{web}/studies/{study.slug}/latents/0")
    browser_page.get_by_text("What the explainer reads").click()
    expect(browser_page.locator("#prompts pre")).to_have_count(len(chat))
    read = browser_page.locator("#prompts pre").all_text_contents()
    assert read == [message["content"] for message in chat]
    dead = prompts(db, study, latent_of(db, study, 5))
    assert all(prompt.problem and not prompt.chat for prompt in dead)
