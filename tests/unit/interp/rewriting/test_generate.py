"""Writing on from a prompt with a spliced model: the texts, the counts, and the job."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from transformers import MambaConfig, MambaForCausalLM

from interp.coders.protocol import Coder
from interp.errors import InputError
from interp.model.subject import Hooked, Subject
from interp.model.taps import Hidden
from interp.rewriting.generate import Rewriting, Written, _pick, encode_prompt, write
from interp.rewriting.splice import Site, Splice, Values, real_latents, set_zeroed, untouched, zero
from tests.engine import (
    D_MODEL,
    MLP,
    VOCABULARY,
    random_coder,
    tiny_subject,
    word_tokenizer,
)

BOS = 49
PROMPT = [BOS, 4, 8, 15, 16, 23, 42]
NEW = 12
LATENTS = torch.tensor([7, 0, 3, 11])
ARCHITECTURES = sorted(MLP)


def text(
    subject: Subject,
    coder: Coder,
    splice: Splice | Rewriting,
    *,
    first_position: int = 1,
    temperature: float = 0,
    seed: int = 0,
    written: Sequence[int] = (),
) -> list[Written]:
    return list(
        write(
            subject,
            coder,
            PROMPT,
            splice,
            first_position=first_position,
            new_tokens=NEW,
            temperature=temperature,
            seed=seed,
            written=written,
        )
    )


def tokens(written: list[Written]) -> list[int]:
    return [one.token for one in written]


class Oracle:
    """A simulator that reads the real activations out of the model, and keeps what it was asked."""

    def __init__(self, subject: Subject, coder: Coder, latents: Tensor = LATENTS) -> None:
        self.subject, self.coder, self.latents = subject, coder, latents
        self.asked: list[tuple[int, int]] = []

    def __call__(self, so_far: Sequence[int], start: int) -> Tensor:
        self.asked.append((len(so_far), start))
        site = Site(self.coder, self.subject.capture(torch.tensor([so_far])))
        return site.real[start:, self.latents]


# --- Conditions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_untouched_model_writes_what_transformers_does(architecture: str) -> None:
    subject = tiny_subject(architecture)
    whole = subject.model.generate(
        torch.tensor([PROMPT]), max_new_tokens=NEW, do_sample=False, pad_token_id=0
    )
    assert tokens(text(subject, random_coder(), untouched)) == whole[0, len(PROMPT) :].tolist()


def test_a_model_without_keys_and_values_is_run_from_the_beginning() -> None:
    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=VOCABULARY,
        hidden_size=D_MODEL,
        num_hidden_layers=3,
        initializer_range=0.3,
        eos_token_id=None,
    )
    model = MambaForCausalLM(config).eval().requires_grad_(False)
    subject = Subject(model, word_tokenizer(), "mamba", "layers.1", resumable=False)
    by_hand = list(PROMPT)
    with torch.inference_mode(), subject.replacing(lambda hooked: hooked.output * 0):
        for _ in range(NEW):
            by_hand.append(int(model(torch.tensor([by_hand])).logits[0, -1].argmax()))
    assert tokens(text(subject, random_coder(), zero)) == by_hand[len(PROMPT) :]


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("first_position", [0, 1])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_zero_writes_what_a_whole_forward_for_each_token_does(
    architecture: str, first_position: int, temperature: float
) -> None:
    """By hand: no keys and values are kept; every position but the first ones puts out zero."""
    subject = tiny_subject(architecture)

    def silence(hooked: Hooked) -> Hidden:
        output = hooked.output.clone()
        output[:, first_position:] = 0
        return output

    draws = torch.rand(NEW, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_hand = list(PROMPT)
    with subject.replacing(silence), torch.inference_mode():
        for draw in draws.tolist():
            logits = subject.model(torch.tensor([by_hand]), use_cache=False).logits[0, -1]
            by_hand.append(_pick(logits, temperature, draw))
            if by_hand[-1] == subject.model.generation_config.eos_token_id:
                break
    written = text(
        subject, random_coder(), zero, first_position=first_position, temperature=temperature
    )
    assert tokens(written) == by_hand[len(PROMPT) :]


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_oracle_writes_what_the_real_latents_do(architecture: str, temperature: float) -> None:
    subject, coder = tiny_subject(architecture), random_coder()
    options = {"temperature": temperature, "seed": 5}
    expected = text(subject, coder, real_latents, **options)
    oracle = Oracle(subject, coder)
    assert text(subject, coder, Rewriting(LATENTS, oracle), **options) == expected


def test_an_oracle_of_an_sae_does_too() -> None:
    subject = tiny_subject("gpt2", "h.1")
    coder = random_coder(transcode=False, skip=False)
    expected = text(subject, coder, real_latents)
    assert text(subject, coder, Rewriting(LATENTS, Oracle(subject, coder))) == expected


def test_zeros_write_what_the_same_set_zeroed_does_and_the_real_latents_do_not() -> None:
    subject, coder = tiny_subject("gpt2"), random_coder()

    def silent(so_far: Sequence[int], start: int) -> Tensor:
        return torch.zeros(len(so_far) - start, len(LATENTS))

    def zeroed(site: Site, rows: Tensor) -> Hidden:
        there = torch.ones(1, len(site.x), len(LATENTS))
        return set_zeroed(Values.of(LATENTS, there))(site, rows)

    written = text(subject, coder, Rewriting(LATENTS, silent))
    assert written == text(subject, coder, zeroed)
    assert written != text(subject, coder, real_latents)


# --- Simulating -----------------------------------------------------------------------------------


def test_each_position_is_simulated_once_and_the_first_and_the_newest_token_never() -> None:
    subject, coder = tiny_subject("gpt2"), random_coder()
    oracle = Oracle(subject, coder)
    written = text(subject, coder, Rewriting(LATENTS, oracle))
    assert len(written) == NEW
    # First the prompt from its second token on; then, for each new token, the one before it.
    lengths = range(len(PROMPT), len(PROMPT) + NEW)
    assert oracle.asked == [(n, 1 if n == len(PROMPT) else n - 1) for n in lengths]


def test_missing_values_are_counted_and_stay_real() -> None:
    subject, coder = tiny_subject("gpt2"), random_coder()

    def some(so_far: Sequence[int], start: int) -> Tensor:
        """Latent 3 is always missing, latent 7 at position 2, and the others are silent."""
        values = torch.zeros(len(so_far), len(LATENTS))
        values[:, 2] = torch.nan
        values[2, 0] = torch.nan
        return values[start:]

    def by_hand(so_far: Sequence[int], start: int) -> Tensor:
        real = Oracle(subject, coder)(so_far, start)
        values = some(so_far, start)
        return torch.where(values.isnan(), real, values)

    written = text(subject, coder, Rewriting(LATENTS, some))
    assert tokens(written) == tokens(text(subject, coder, Rewriting(LATENTS, by_hand)))
    # Six tokens of the prompt are spliced, and one more for each new token but the last.
    assert [one.missing for one in written] == [len(PROMPT) - 1 + n + 1 for n in range(NEW)]


def test_a_simulator_that_knows_nothing_changes_nothing() -> None:
    subject, coder = tiny_subject("gpt2"), random_coder()

    def nothing(so_far: Sequence[int], start: int) -> Tensor:
        return torch.full((len(so_far) - start, len(LATENTS)), torch.nan)

    written = text(subject, coder, Rewriting(LATENTS, nothing))
    assert tokens(written) == tokens(text(subject, coder, real_latents))
    assert written[-1].missing == (len(PROMPT) - 1 + NEW - 1) * len(LATENTS)


# --- Choosing tokens ------------------------------------------------------------------------------


def test_a_draw_falls_into_a_tokens_share() -> None:
    # Shares ½, 0, ¼, ¼. At temperature ½ they are squared: ¼, 0, 1/16, 1/16, that is ⅔, 0, ⅙, ⅙.
    logits = torch.tensor([0.5, 0.0, 0.25, 0.25]).log() + 3
    assert [_pick(logits, 1, draw) for draw in (0, 0.49, 0.51, 0.74, 0.76, 1 - 1e-15)] == [
        *(0, 0, 2, 2, 3, 3)
    ]
    assert [_pick(logits, 0.5, draw) for draw in (0.66, 0.67, 0.83, 0.84)] == [0, 2, 2, 3]
    assert _pick(logits, 0, 0.99) == 0
    assert _pick(logits, 1e-6, 0.99) == 0


def test_draws_have_the_models_distribution() -> None:
    logits = torch.randn(20, generator=torch.Generator().manual_seed(1))
    draws = torch.rand(4000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    counts = torch.tensor([_pick(logits, 0.7, float(d)) for d in draws]).bincount(minlength=20)
    expected = 4000 * (logits.double() / 0.7).softmax(-1)
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 43.8  # the 0.999 quantile at 19 degrees of freedom


def test_a_seed_repeats_and_another_one_does_not() -> None:
    subject, coder = tiny_subject("gpt2"), random_coder()
    first, again, other = (
        text(subject, coder, untouched, temperature=1, seed=seed) for seed in (3, 3, 4)
    )
    assert first == again != other
    assert first != text(subject, coder, untouched)


def test_a_text_ends_with_the_end_of_sequence_token() -> None:
    subject, coder = tiny_subject("gpt2"), random_coder()
    whole = tokens(text(subject, coder, untouched, temperature=1))
    subject.tokenizer.eos_token = f"w{whole[5]}"
    first = whole.index(whole[5])
    ended = text(subject, coder, untouched, temperature=1)
    assert tokens(ended) == whole[: first + 1]
    assert not text(subject, coder, untouched, temperature=1, written=tokens(ended))


@pytest.mark.parametrize("temperature", [0, 1])
def test_a_text_that_was_cut_short_goes_on_as_if_it_had_not_been(temperature: float) -> None:
    subject, coder = tiny_subject("gpt2"), random_coder()

    def wrong(so_far: Sequence[int], start: int) -> Tensor:
        values = torch.tensor([[float(t % 4), t % 3, t % 2, math.nan] for t in so_far])
        return values[start:]

    rewriting = Rewriting(LATENTS, wrong)
    whole = text(subject, coder, rewriting, temperature=temperature)
    for cut in range(NEW + 1):
        rest = text(subject, coder, rewriting, temperature=temperature, written=tokens(whole[:cut]))
        assert rest == whole[cut:], cut


# --- Prompts --------------------------------------------------------------------------------------


def test_a_prompt_begins_with_the_beginning_of_sequence_token_if_the_study_says_so() -> None:
    subject = tiny_subject("gpt2")
    assert encode_prompt(subject, "w4 w8", prepend_bos=True, new_tokens=5) == [BOS, 4, 8]
    assert encode_prompt(subject, "w4 w8", prepend_bos=False, new_tokens=5) == [4, 8]


def test_a_prompt_without_a_token_is_refused() -> None:
    with pytest.raises(InputError, match="prompt is empty"):
        encode_prompt(tiny_subject(), "  ", prepend_bos=True, new_tokens=5)


def test_a_prompt_that_is_too_long_is_refused_and_the_longest_one_is_not() -> None:
    subject = tiny_subject("gpt2")  # reads 1024 tokens, by a table of positions
    longest = 1024 - 1 - NEW
    options = {"prepend_bos": True, "new_tokens": NEW}
    with pytest.raises(InputError, match=f"at most {longest} tokens"):
        encode_prompt(subject, "w1 " * (longest + 1), **options)
    prompt = encode_prompt(subject, "w1 " * longest, **options)
    settings = {"first_position": 1, "new_tokens": NEW, "temperature": 0, "seed": 0}
    assert len(list(write(subject, random_coder(), prompt, zero, **settings))) == NEW
    with pytest.raises(InputError, match="Ask for fewer"):
        encode_prompt(subject, "w1", prepend_bos=True, new_tokens=1024)
