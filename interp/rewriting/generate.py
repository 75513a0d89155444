"""A spliced model's continuation of a prompt, token by token.

Keys and values of the text so far are kept, so each step runs one token, and each position is
spliced once. That is the same as splicing the whole text anew: a latent's value at a position, real
or simulated, depends on nothing that comes after it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache

from interp.coders.protocol import Coder
from interp.corpus.text import encode
from interp.errors import InputError
from interp.model.subject import Hooked, Subject
from interp.model.taps import Hidden
from interp.rewriting.splice import Site, Splice, Values, rewritten, untouched

Simulate = Callable[[Sequence[int], int], Float[Tensor, "position rewritten"]]
"""Takes the tokens so far and a position; gives activations from that position on. NaN where one is
missing. It is called outside the spliced forward, so it may run the subject model itself."""


class Rewriting(NamedTuple):
    """Latents that are simulated while the text is written."""

    latents: Int[Tensor, "rewritten"]
    simulate: Simulate


class Written(NamedTuple):
    """One token more."""

    token: int
    missing: int
    """Values that were missing so far, in the prompt too. There the latent stayed real."""


def encode_prompt(
    subject: Subject, prompt: str, *, prepend_bos: bool, new_tokens: int
) -> list[int]:
    """Token ids of a prompt, after a beginning-of-sequence token if one is wanted.

    Args:
        new_tokens: Number of tokens that must fit in after it.

    Raises:
        InputError: The prompt has no token, or is too long for the model.
    """
    ids = encode(subject.tokenizer, prompt)
    if not ids:
        raise InputError("The prompt is empty. Type some text for the model to go on from.")
    bos = [subject.tokenizer.bos_token_id] if prepend_bos else []
    longest = getattr(subject.model.config.get_text_config(), "max_position_embeddings", None)
    if longest is not None and (most := longest - len(bos) - new_tokens) < len(ids):
        raise InputError(
            f"The text is {len(ids)} tokens long"
            + (f", and {new_tokens} new ones are asked for" if new_tokens else "")
            + f", but {subject.source} reads at most {longest} in all. "
            + (f"Use a text of at most {most} tokens." if most > 0 else "Ask for fewer tokens.")
        )
    return bos + ids


@torch.inference_mode()
def write(
    subject: Subject,
    coder: Coder,
    prompt: Sequence[int],
    splice: Splice | Rewriting,
    *,
    first_position: int,
    new_tokens: int,
    temperature: float,
    seed: int,
    written: Sequence[int] = (),
) -> Iterator[Written]:
    """Write on until the end-of-sequence token, which is given too, or ``new_tokens``.

    Args:
        prompt: See :func:`encode_prompt`.
        splice: Output of the module at the hookpoint, at every position but those before
            ``first_position``.
        temperature: 0 takes the likeliest token. Above 0, tokens are sampled.
        seed: With it, the draw for a token depends on its number only: models with equal
            distributions write equal texts.
        written: Tokens that an earlier call with the same arguments wrote, to be gone on from.
    """
    draws = torch.rand(
        new_tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    ends = _ends(subject)
    tokens = [*prompt, *written]
    start = missing = 0
    cache: Cache | None = None
    for draw in draws[len(written) :]:
        if len(tokens) > len(prompt) and tokens[-1] in ends:
            break
        analysed = len(tokens) > first_position  # a short prompt may have no such position yet
        spliced, more = (
            _at(splice, tokens, max(start, first_position)) if analysed else (untouched, 0)
        )
        # Without keys and values that are kept, the whole text is run, and counted, each time.
        missing = missing + more if cache is not None else more
        with subject.replacing(_from(first_position - start, coder, spliced)):
            output = subject.model(
                torch.tensor([tokens[start:]], device=subject.device),
                **({} if cache is None else {"past_key_values": cache}),
                use_cache=subject.resumable,
            )
        cache = output.get("past_key_values")
        start = len(tokens) if cache is not None else 0
        tokens.append(_pick(output.logits[0, -1], temperature, float(draw)))
        yield Written(tokens[-1], missing)


def _ends(subject: Subject) -> set[int]:
    """The tokens that end a text. Some models have several."""
    config = subject.model.generation_config
    ids = config.eos_token_id if config is not None else None
    ends = set(ids if isinstance(ids, list) else [ids]) | {subject.tokenizer.eos_token_id}
    return ends - {None}


def _at(splice: Splice | Rewriting, tokens: list[int], start: int) -> tuple[Splice, int]:
    """The splice of the positions from ``start`` on, and how many of its values are missing."""
    if not isinstance(splice, Rewriting):
        return splice, 0
    values = splice.simulate(tokens, start)
    return rewritten(Values(splice.latents, lambda _: values[None])), int(values.isnan().sum())


def _from(first: int, coder: Coder, splice: Splice) -> Callable[[Hooked], Hidden]:
    """Splice the positions from ``first`` on, of those that are run."""
    where = slice(max(first, 0), None)

    def replace(hooked: Hooked) -> Hidden:
        site = Site(coder, Hooked(hooked.input[:, where], hooked.output[:, where]))
        output = hooked.output.clone()
        output[:, where] = splice(site, torch.tensor([0]))
        return output

    return replace


def _pick(logits: Float[Tensor, "vocab"], temperature: float, draw: float) -> int:
    """The next token: the likeliest, or the one whose share of [0, 1) the draw falls into."""
    if temperature == 0:
        return int(logits.argmax())
    upto = (logits.double() / temperature).softmax(-1).cumsum(-1)
    return int(torch.searchsorted(upto, draw * upto[-1], right=True))
