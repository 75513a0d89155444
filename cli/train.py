"""``palimpsest train-simulator``: train a simulator on a study's latents and explanations."""

import json
import random
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cli.choices import TRAINED, TrainedMethod
from cli.errors import CommandError
from interp.simulate.registry import trained
from interp.vocabulary import Variant
from models.settings import get_settings

if TYPE_CHECKING:
    from interp.simulate.training.corpus import Corpus, TrainingText

console = Console()
RULES = (Variant.NO_MARKS, Variant.CAPITALS, Variant.PROSE, Variant.QUOTED)
"""Rules of :mod:`interp.explain.rewording` that a simulator has to read as well."""


def train_simulator(
    study: Annotated[
        list[str],
        typer.Argument(metavar="STUDY...", help="Name of the study, or of several."),
    ],
    base: Annotated[
        str,
        typer.Option(
            help="Base language model: a folder, a hub name, or one that `palimpsest fetch` knows. "
            "Best not the study's own model."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the simulator.")],
    method: Annotated[TrainedMethod, typer.Option(help="Method of the simulator.")] = TRAINED,
    explanations: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[STUDY=]FILE",
            help="More explanations to train on: JSON lines with latent and text. Without STUDY, "
            "of the first study.",
        ),
    ] = None,
    rewordings: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[STUDY=]FILE",
            help="Other wordings of explanations, in the same format. No figure of the training "
            "rests on them.",
        ),
    ] = None,
    by_rule: Annotated[
        bool,
        typer.Option(
            help="Train on one explanation of each latent also without its quotation marks, on "
            "one in capitals, one without its quoted words, and one as the quoted words alone."
        ),
    ] = True,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Number of folds. Each holds out one part of the latents."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps to train each fold. Default: the method's own.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
) -> None:
    """Train a simulator on the explain sets of studies, with latents held out in folds.

    It can be interrupted: the same command goes on where it stopped.
    """
    from cli.fetch import fetch_if_known
    from cli.servers import connect
    from interp.model.subject import default_device, load_causal_lm
    from interp.simulate.training.corpus import TrainingText
    from interp.sources.models import check_model

    if (out / "simulator.json").exists():
        raise CommandError(f"{out} holds a simulator already. Choose another folder.")
    check_model(get_settings().model_source(base))
    more, others = _by_study(study, explanations or []), _by_study(study, rewordings or [])
    with connect():
        read = [
            read_corpus(slug, more[slug], rewordings=others[slug], by_rule=by_rule) for slug in more
        ]
    text = TrainingText.joined([one for _, one in read])
    fetch_if_known(base)
    source = get_settings().model_source(base)
    with console.status("Loading the base") as status:
        import torch

        model, tokenizer = load_causal_lm(source, dtype=torch.float32, device=default_device())

        def say(message: str) -> None:
            status.update(message)
            if "step" in message:
                console.print(message, highlight=False)

        name = Path(source).name if Path(source).exists() else source
        command = shlex.join(["palimpsest", *sys.argv[1:]])
        given = {"folds": folds, "steps": steps, "seed": seed}
        given = {option: value for option, value in given.items() if value is not None}
        record = trained()[method].train(
            model,
            tokenizer,
            name,
            [corpus for corpus, _ in read],
            text,
            out,
            settings=given,
            command=command,
            say=say,
        )
    console.print(
        f"Correlation on {record.figures['held_out_latents']} held-out latents and text aside: "
        f"{record.figures['held_out_correlation']:.3f}. Add it to Palimpsest with "
        f"`palimpsest simulator add --method {method} --model {base} --folder {out}`.",
        highlight=False,
    )


def _by_study(studies: Sequence[str], files: Sequence[str]) -> dict[str, list[Path]]:
    """The files of each study."""
    found: dict[str, list[Path]] = {slug: [] for slug in studies}
    for one in files:
        slug, named, path = one.partition("=")
        if not named or slug not in found:
            slug, path = studies[0], one
        found[slug].append(Path(path))
    return found


def read_corpus(
    slug: str,
    files: Sequence[Path],
    *,
    rewordings: Sequence[Path] = (),
    by_rule: bool = False,
) -> tuple["Corpus", "TrainingText"]:
    """The study's explain contexts, activations, and every explanation of each latent.

    A person's explanations and those of models count alike. The same text counts once.

    Args:
        files: More explanations.
        rewordings: Other wordings of explanations.
        by_rule: Reword one explanation of each latent by each of ``RULES`` too.
    """
    import numpy as np
    from scipy.sparse import csc_matrix
    from sqlalchemy import select

    from app.services.studies.queries import get_study
    from interp.corpus.copies import Identity
    from interp.corpus.seen import SeenText
    from interp.simulate.training.corpus import Corpus, TrainingText
    from interp.vocabulary import ContextSet
    from models import Context, Explanation, Latent
    from models.database import new_session
    from workers.resources import store_of

    with new_session() as session:
        study = get_study(session, slug)
        contexts = session.execute(
            select(
                Context.strings, Context.document, Context.document_hash, Context.document_sketch
            )
            .where(Context.study_id == study.id, Context.set == str(ContextSet.EXPLAIN))
            .order_by(Context.index)
        ).all()
        explained = session.execute(
            select(Latent.index, Explanation.text)
            .join(Explanation, Explanation.latent_id == Latent.id)
            .where(Latent.study_id == study.id, Latent.max_activation > 0)
            .order_by(Latent.index, Explanation.id)
        ).all()
        if not contexts or not explained:
            raise CommandError(
                f"Study {slug} has no explanations yet. Run `palimpsest collect {slug}` first."
            )
        texts: dict[int, list[str]] = {}
        for latent, explanation in explained:
            texts.setdefault(latent, []).append(explanation)
        for latent, explanation in _more(files):
            if latent in texts:
                texts[latent].append(explanation)
        others: dict[int, list[str]] = {}
        for latent, explanation in [*_more(rewordings), *(_by_rule(texts) if by_rule else ())]:
            if latent in texts:
                others.setdefault(latent, []).append(explanation)
        first, num_latents = study.first_position, study.coder_info["num_latents"]
        kept = study.context_length - first
        parts = list(store_of(study, ContextSet.EXPLAIN).read(range(num_latents)))
        activations = csc_matrix(
            (
                np.concatenate([part.activations for part in parts]),
                np.concatenate([p.contexts * kept + p.positions - first for p in parts]),
                np.cumsum([0, *(len(part.contexts) for part in parts)]),
            ),
            shape=(len(contexts) * kept, num_latents),
        )
        corpus = Corpus(
            study.coder_info["sha256"],
            [row.strings[first:] for row in contexts],
            activations.tocsr(),
            {latent: list(dict.fromkeys(some)) for latent, some in texts.items()},
            {
                latent: [one for one in dict.fromkeys(some) if one not in texts[latent]]
                for latent, some in others.items()
            },
        )
        documents = sorted({row.document for row in contexts})
        known = all(row.document_hash is not None for row in contexts)
        identities = [Identity(row.document_hash, row.document_sketch) for row in contexts]
        seen = SeenText.of(identities) if known else None
        return corpus, TrainingText(study.corpus, documents, seen)


def _by_rule(texts: Mapping[int, Sequence[str]]) -> Iterator[tuple[int, str]]:
    """One explanation of each latent, drawn at random, reworded by each rule. A rule that leaves
    nothing of it gives no text."""
    from interp.explain.rewording import GENERIC, reworded

    draw = random.Random(0)
    for rule in RULES:
        some = {latent: draw.choice(own) for latent, own in texts.items()}
        for latent, text in reworded(rule, some, seed=0):
            if text != GENERIC:
                yield latent, text


def _more(files: Sequence[Path]) -> list[tuple[int, str]]:
    found = []
    for path in files:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{path} cannot be read: {error}") from None
        for number, line in enumerate(lines, 1):
            try:
                row: dict[str, Any] = json.loads(line)
                found.append((int(row["latent"]), str(row["text"])))
            except (ValueError, KeyError, TypeError) as error:
                raise CommandError(
                    f"{path}, line {number}, has no latent and text ({error})."
                ) from None
    return found
