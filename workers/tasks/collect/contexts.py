"""A study's text as contexts, and its coder looked at before anything is collected with it."""

import shutil
from itertools import count

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session
from transformers import PreTrainedTokenizerBase

from interp.coders.check import check_coder, measure_fit
from interp.coders.load import find_checkpoint
from interp.coders.protocol import Coder, fingerprint
from interp.coders.sample import sample
from interp.corpus import tokenizer as tokenizers
from interp.corpus.contexts import draw_sets, split_corpus
from interp.corpus.documents import TEXT_VERSION
from interp.corpus.source import source_of
from interp.corpus.unused import Unused
from interp.errors import InputError
from interp.model.subject import Subject
from interp.rewriting.admission import can_resume
from interp.sources.checkpoint import of_model
from interp.sources.sites import check_same
from interp.vocabulary import ContextSet
from jobs.events import publish
from models import Context, Job, Study
from workers import task
from workers.resources import coder_of, corpus_of, facts_of, store_of, subject_of
from workers.tasks.collect.text_facts import text_facts
from workers.tasks.rows import context_tokens, token_texts
from workers.version import code_version

ROWS = 500
"""Contexts whose texts are in memory at once."""


def forget(session: Session, job: Job, study: Study) -> None:
    """Forget what was collected before the study was corrected: other text, or another model."""
    for context_set in ContextSet:
        shutil.rmtree(store_of(study, context_set).folder, ignore_errors=True)
    session.execute(delete(Context).where(Context.study_id == study.id))
    task.forget(session, job, "anew")
    session.commit()


def settle_sites(session: Session, study: Study) -> None:
    """Name the sites of a study that are not named yet as its coder's files do, and write them by
    their canonical names.

    Raises:
        InputError: Nothing names the site written, or the model has no such site.
    """
    if "kind" in study.coder_info:
        return
    facts = facts_of(study)
    study.hookpoint = study.hookpoint or facts.writes
    if not study.hookpoint:
        raise InputError(
            f"The files of the coder {study.coder!r} do not name the site that it writes. Correct "
            "the study: give its hookpoint, such as layers.10.mlp."
        )
    transcoder = coder_of(study).kind == "transcoder"
    if transcoder:
        study.reads = study.reads or facts.reads
    try:
        subject = subject_of(study)
        if not transcoder and study.reads:
            check_same(subject.reads, subject.hookpoint)
    except InputError as error:
        raise of_model(error, facts) from None
    found = find_checkpoint(study.coder, study.hookpoint)
    if transcoder:
        study.reads = subject.reads if study.reads else ""
    else:
        study.reads = subject.hookpoint
    try:
        # The name as given may be that of the coder's folder, which is found by it.
        if find_checkpoint(study.coder, subject.hookpoint) == found:
            study.hookpoint = subject.hookpoint
    except InputError:
        pass
    session.commit()


def make_contexts(session: Session, study: Study, tokenizer: PreTrainedTokenizerBase) -> None:
    """Draw a study's contexts and save them, if it has none.

    What is known of their text is kept in the same transaction.
    """
    if session.scalar(select(Context.id).where(Context.study_id == study.id).limit(1)):
        return
    limits = {
        ContextSet.EXPLAIN: study.contexts_explain,
        ContextSet.CALIBRATE: study.contexts_calibrate,
        ContextSet.EVALUATE: study.contexts_evaluate,
    }
    unused = Unused()
    sets, copies, identities = split_corpus(corpus_of(study), study.seed, unused)
    contexts = draw_sets(
        sets,
        tokenizer,
        limits,
        length=study.context_length,
        prepend_bos=study.prepend_bos,
        seed=study.seed,
        template_before=None if source_of(study.corpus).template else study.first_position,
        unused=unused,
    )
    numbers = {context_set: count() for context_set in ContextSet}
    for start in range(0, len(contexts), ROWS):
        rows = [
            {
                "study_id": study.id,
                "set": str(context.set),
                "index": next(numbers[context.set]),
                "document": context.document,
                "document_hash": identities[context.document].hash,
                "document_sketch": identities[context.document].sketch,
                "document_copies": len(copies.get(context.document, ())),
                "start": context.start,
                "tokens": context.tokens,
                "strings": token_texts(tokenizer, context.tokens),
            }
            for context in contexts[start : start + ROWS]
        ]
        session.execute(insert(Context), rows)
    study.coder_info = {
        "text_version": TEXT_VERSION,
        "tokenizer": tokenizers.fingerprint(tokenizer),
        "documents": sum(map(len, [*sets.values(), *copies.values()])),
        "unused": unused.found,
    }
    session.commit()


def check(session: Session, study: Study, subject: Subject, coder: Coder) -> None:
    """See that the coder fits the model, or, after the first time, that it is still the same one.

    Raises:
        InputError: It does not fit, or another coder lies where it lay.
    """
    if "kind" not in study.coder_info:
        _check_fit(session, study, subject, coder)
    elif study.coder_info.get("sha256", "") not in ("", fingerprint(coder)):
        raise InputError(
            f"The coder at {study.coder!r} is not the one that this study was collected with: its "
            "weights have changed. Put the old ones back, or make a new study."
        )


def _check_fit(session: Session, study: Study, subject: Subject, coder: Coder) -> None:
    first = study.first_position
    # The same contexts as an inspection's, so that both judge alike.
    judged_on = sample(
        corpus_of(study),
        subject.tokenizer,
        length=study.context_length,
        prepend_bos=study.prepend_bos,
        first_position=first,
    )
    facts = facts_of(study)
    try:
        judged = check_coder(coder, subject, judged_on, first_position=first, active=facts.active)
    except InputError as error:
        raise of_model(error, facts) from None
    _, tokens = context_tokens(session, study, ContextSet.CALIBRATE)
    fit = measure_fit(coder, subject, tokens, first_position=first)
    coder = fit.coder
    resumes = can_resume(subject, coder, tokens, first_position=first)
    estimated = getattr(coder.rule, "estimated", None)
    study.coder_info = {
        **study.coder_info,
        **({} if estimated is None else {"threshold": estimated}),
        "kind": coder.kind,
        "k": getattr(coder.rule, "k", None),
        "rule": coder.rule.meaning,
        "skip": coder.skip,
        "num_latents": coder.num_latents,
        "typical_fvu": judged.typical_fvu,
        "fvu": fit.fvu,
        "active": fit.active,
        "resumes": resumes,
        "dtype": str(subject.dtype).removeprefix("torch."),
        "sha256": fingerprint(coder),
        "code_version": code_version(),
        **text_facts(session, study),
    }
    session.commit()
    publish(study.id, "latents")
