"""A study with something on every page, and the addresses of all pages."""

from sqlalchemy.orm import Session

from models import Job, JobEvent, LatentList, LatentListItem, Sentence, Study
from tests.estimates import attribution, error_budget
from tests.factories import check, commented, generation, language_test, new_explanation
from tests.reading import current_of, latent_of
from tests.rewrites import rewrite
from tests.text_study import text_study

LONG_NAME = "every_state_of_the_union_address_from_1790_to_2020_as_spoken"
"""Without a space to break it at."""


def everything(session: Session) -> dict[str, str]:
    """A study with something on every page.

    Returns:
        The address of each page, by what it is.
    """
    study = text_study(session)
    study.title = f"Layer 15 on {LONG_NAME}"
    here = f"/studies/{study.slug}"
    explained = [latent_of(session, study, index) for index in (0, 1)]
    first = rewrite(session, study, explained)
    commented(session, explained[1])
    current = current_of(session, study, 1)
    text = "the legislature, and what it votes on"
    reworded = new_explanation(session, latent_of(session, study, 1), text)
    second = rewrite(session, study, [latent_of(session, study, i) for i in (0, 1)], parent=first)
    starred = LatentList(study_id=study.id, name="starred", created_by="ana")
    named = LatentList(study_id=study.id, name="to reword", created_by="ana")
    session.add_all([starred, named])
    session.flush()
    session.add(LatentListItem(list_id=starred.id, latent_id=explained[0].id, created_by="ana"))
    language_test(session, study)
    error_budget(session, attribution(session, study, explained))
    check(session, study, identity="passed", bookkeeping="failed", seeds="skipped")
    made = generation(session, study, explained)
    sentence = _sentence(session, study)
    failed = Job(
        study_id=study.id,
        kind="simulate",
        status="failed",
        done=3,
        total=8,
        unit="batches",
        message=f"ValueError: {LONG_NAME} is no list",
        created_by=LONG_NAME,
    )
    imported = Job(
        study_id=study.id,
        kind="explain",
        params={"method": "file", "path": "/nowhere/words.jsonl"},
        status="finished",
        created_by="ana",
    )
    session.add_all([failed, imported])
    session.flush()
    session.add(JobEvent(job_id=failed.id, text=failed.message))
    session.commit()
    a_latent, dead, old = f"{here}/latents/0", f"{here}/latents/2", f"{here}/latents/1"
    return {
        "patterns": "/patterns",
        "api": "/api",
        "simulators of a study": f"/simulators?study={study.slug}",
        "studies": "/studies",
        "new study": "/studies/new",
        "new study like this": f"/studies/new?like={study.slug}",
        "edit": f"{here}/edit",
        "delete a rewrite": f"{here}/rewrites/{second.id}/delete",
        "take an import back": f"/jobs/{imported.id}/takeback",
        "delete": f"{here}/delete",
        "delete a simulator": f"/simulators/{study.simulator_id}/delete",
        "simulators": "/simulators",
        "all jobs": "/jobs",
        "an error": f"{here}/latents/5000",
        "overview": here,
        "overview, paper": f"{here}?protocol=paper",
        "overview, orderings": f"{here}?view=orderings",
        "latents": f"{here}/latents",
        "latents, filtered": f"{here}/latents?simulated=true&firing_rate_min=0",
        "latents, sorted": f"{here}/latents?sort=correlation&order=desc&show=loss_effect",
        "latents, none": f"{here}/latents?q=nothing+says+this",
        "lists": f"{here}/lists",
        "latent": a_latent,
        "latent, quantiles": f"{a_latent}?examples=interval",
        "latent, random": f"{a_latent}?examples=random",
        "latent, hard negatives": f"{a_latent}?examples=hard_negative",
        "latent, difference": f"{a_latent}?lanes=difference&text=full&breaks=true",
        "latent, within": f"{a_latent}?on_list=starred",
        "latent, sentence": f"{a_latent}?sentence={sentence.id}",
        "latent with history": old,
        "latent, dead": dead,
        "agreement": f"{a_latent}/agreement",
        "similar": f"{a_latent}/similar",
        "errors": f"{a_latent}/errors",
        "prompts": f"{a_latent}/prompts",
        "compare": f"{old}/compare?a={current.id}&b={reworded.id}",
        "latent, commented": f"{here}/latents/1?version={current.id}",
        "try": f"{here}/try",
        "sentence": f"{here}/sentences/{sentence.id}",
        "generate": f"{here}/generate",
        "generation": f"{here}/generations/{made.id}",
        "checks": f"{here}/checks",
        "language": f"{here}/language",
        "budget": f"{here}/budget",
        "jobs": f"{here}/jobs",
        "job": f"/jobs/{failed.id}",
        "work": f"{here}/work",
        "work, one latent": f"{here}/work?latent=0",
        "export": f"{here}/export",
        "export, narrowed": f"{here}/export?q=numbers&parts=scores&format=csv",
        "compare rewrites": f"{here}/compare?a={first.id}&b={second.id}",
    }


def _sentence(session: Session, study: Study) -> Sentence:
    job = Job(study_id=study.id, kind="sentence", status="finished", created_by="ana")
    session.add(job)
    session.flush()
    strings = ["<s>", "In", " the", " year", " 1790", " Congress"]
    sentence = Sentence(
        study_id=study.id,
        job_id=job.id,
        simulator_id=study.simulator_id,
        text="".join(strings[1:]),
        tokens=list(range(len(strings))),
        strings=strings,
        active=[[], [], [[3, 0.5]], [[3, 1.0]], [[0, 9.0], [3, 0.5]], [[1, 9.0], [0, 0.5]]],
        simulated={
            str(current_of(session, study, 0).id): {
                "values": [None, 0.5, 0.0, 3.0, 9.0, None],
                "failures": {"The reply is no JSON list.": 1},
            }
        },
        created_by="ana",
    )
    session.add(sentence)
    session.flush()
    job.params = {"sentence_id": sentence.id}
    return sentence
