"""What splices cost: losses and divergences against those of whole forward passes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from interp.coders.protocol import Coder
from interp.model.subject import Hooked, Subject
from interp.model.taps import Hidden
from interp.rewriting import evaluate as module
from interp.rewriting.evaluate import Evaluated, Kept, Known, evaluate
from interp.rewriting.splice import (
    Site,
    Splice,
    Values,
    mean,
    no_latents,
    noise,
    oracle_gating,
    oracle_values,
    random_latents,
    real_latents,
    resample,
    rewritten,
    rewritten_error_kept,
    set_zeroed,
    set_zeroed_error_kept,
    untouched,
    zero,
)
from interp.vocabulary import Condition, Protocol
from tests.engine import (
    CODERS,
    D_MODEL,
    MLP,
    random_coder,
    random_tokens,
    tiny_subject,
    whole_forward,
    word_tokenizer,
)

NAN = torch.nan

# --- Against whole forward passes ---------------------------------------------------------------

CONTEXTS, SEQ, LATENTS = 9, 7, 12
TOKENS = random_tokens(CONTEXTS, SEQ)
SET = torch.tensor([7, 2, 3, 10, 5, 0])

POSITIONS = {
    (Protocol.WHOLE, 1): [1, 2, 3, 4, 5],
    (Protocol.WHOLE, 0): [0, 1, 2, 3, 4, 5],
    (Protocol.PAPER, 1): [5],
    (Protocol.PAPER, 0): [5],
}
"""What is spliced and counted of seven tokens. Never the last, which predicts nothing, and never
the first where that is the beginning-of-sequence token."""

KINDS = [
    ("skip transcoder", ""),
    ("transcoder", ""),
    ("SAE", ""),  # on the MLP's output
    ("SAE", ".mlp"),  # on the residual stream: the suffix is cut off the hookpoint
]
every_kind = pytest.mark.parametrize(("kind", "cut"), KINDS, ids=str)
every_architecture = pytest.mark.parametrize("architecture", MLP)
every_protocol = pytest.mark.parametrize("protocol", Protocol)


def subject_of(architecture: str, cut: str = "") -> Subject:
    return tiny_subject(architecture, MLP[architecture].removesuffix(cut) if cut else None)


def at(values: Tensor, positions: list[int], latents: Tensor = SET) -> Values:
    """Values on whole contexts, cut to the spliced positions."""
    return Values.of(latents, values[:, positions])


def random_values(seed: int = 0, latents: int = len(SET)) -> Tensor:
    """Values for whole contexts: half of them zero, and some of them missing."""
    generator = torch.Generator().manual_seed(seed)
    values = 3 * torch.randn(CONTEXTS, SEQ, latents, generator=generator).clamp_min(0)
    values[torch.rand(values.shape, generator=generator) < 0.1] = NAN
    return values


def conditions(positions: list[int]) -> dict[Condition, Splice]:
    """One splice of each condition."""
    some = at(random_values(), positions)
    quantiles = torch.tensor([[0.5, 1.0, 4.0]]) * torch.arange(1, 1 + len(SET))[:, None]
    splices = {
        Condition.UNTOUCHED: untouched,
        Condition.REAL_LATENTS: real_latents,
        Condition.ZERO: zero,
        Condition.MEAN: mean(torch.linspace(-1, 1, D_MODEL)),
        Condition.RESAMPLE: resample(torch.linspace(-1, 1, 9 * D_MODEL).view(9, -1), seed=0),
        Condition.NO_LATENTS: no_latents,
        Condition.SET_ZEROED: set_zeroed(some),
        Condition.RANDOM_LATENTS: random_latents(some, quantiles, seed=0),
        Condition.NOISE: noise(some, seed=0),
        Condition.REWRITTEN: rewritten(some),
        Condition.ORACLE_GATING: oracle_gating(some),
        Condition.ORACLE_VALUES: oracle_values(some),
        Condition.SET_ZEROED_ERROR_KEPT: set_zeroed_error_kept(some),
        Condition.REWRITTEN_ERROR_KEPT: rewritten_error_kept(some),
    }
    assert list(splices) == list(Condition)
    return splices


def by_whole_forwards(
    subject: Subject,
    coder: Coder,
    tokens: Tensor,
    splices: Sequence[Splice],
    positions: list[int],
) -> Evaluated:
    """The straightforward way: a whole forward pass with a hook for each condition."""

    def log_probabilities(splice: Splice) -> Tensor:
        def replace(hooked: Hooked) -> Hidden:
            there = Hooked(hooked.input[:, positions], hooked.output[:, positions])
            new = hooked.output.clone()
            new[:, positions] = splice(Site(coder, there), torch.arange(len(tokens)))
            return new

        with torch.inference_mode(), subject.replacing(replace):
            logits = subject.model(tokens, use_cache=False).logits
        return logits[:, positions].double().log_softmax(-1)

    own = log_probabilities(untouched)
    targets = tokens[:, [position + 1 for position in positions]]
    losses, kls = [], []
    for splice in splices:
        found = log_probabilities(splice)
        losses.append(-found.gather(-1, targets[..., None]).mean((1, 2)).numpy())
        kls.append((own.exp() * (own - found)).sum(-1).mean(1).numpy())
    return Evaluated(np.stack(losses), np.stack(kls), 0)


def assert_alike(found: Evaluated, expected: Evaluated, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(found.loss, expected.loss, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.kl, expected.kl, rtol=0, atol=tolerance)


@every_kind
@pytest.mark.parametrize(("protocol", "first_position"), POSITIONS)
@every_architecture
def test_every_condition_is_a_whole_forward_with_a_hook(
    architecture: str, protocol: Protocol, first_position: int, kind: str, cut: str
) -> None:
    subject, coder = subject_of(architecture, cut), CODERS[kind]
    positions = POSITIONS[protocol, first_position]
    splices = list(conditions(positions).values())
    found = evaluate(
        subject, coder, TOKENS, splices, protocol=protocol, first_position=first_position
    )
    assert_alike(found, by_whole_forwards(subject, coder, TOKENS, splices, positions))
    # No two conditions are the same, or the comparison would not show that they are told apart.
    for i, one in enumerate(found.loss):
        for other in found.loss[:i]:
            assert np.abs(one - other).max() > 1e-3


@every_protocol
def test_small_divergences_are_not_lost_in_rounding(protocol: Protocol) -> None:
    # Real vocabularies are large, and real logits far from zero; the cost of one latent is small.
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20_000,
        hidden_size=D_MODEL,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    model.lm_head.weight.normal_()
    # A last number that is always large takes all logits down by about a hundred.
    model.model.norm.weight[-1] = 25
    model.model.embed_tokens.weight[:, -1] = 5
    model.lm_head.weight[:, -1] = -1
    subject = Subject(model, word_tokenizer(), "a large vocabulary", "layers.0.mlp")
    subject.model.base_model.get_submodule(subject.hookpoint).down_proj.weight.normal_()

    def nudge(by: float) -> Splice:
        return lambda site, rows: site.hooked.output * (1 + by)

    splices, positions = [nudge(0.01), nudge(0.1), nudge(1)], POSITIONS[protocol, 1]
    run = {"protocol": protocol, "first_position": 1}
    found = evaluate(subject, CODERS["SAE"], TOKENS, splices, **run)
    expected = by_whole_forwards(subject, CODERS["SAE"], TOKENS, splices, positions)
    np.testing.assert_allclose(found.kl, expected.kl, rtol=1e-3, atol=1.5e-5)


@every_architecture
def test_untouched_is_the_models_own_loss(architecture: str) -> None:
    subject = subject_of(architecture)
    own = subject.losses(TOKENS).double().numpy()
    for (protocol, first_position), positions in POSITIONS.items():
        found = evaluate(
            subject,
            CODERS["transcoder"],
            TOKENS,
            [untouched],
            protocol=protocol,
            first_position=first_position,
        )
        np.testing.assert_allclose(found.loss[0], own[:, positions].mean(1), rtol=1e-5)
        assert not found.kl.any()


@every_protocol
@every_architecture
def test_splices_see_the_spliced_positions_only(architecture: str, protocol: Protocol) -> None:
    subject = subject_of(architecture)
    seen: list[Hooked] = []

    def look(site: Site, rows: Tensor) -> Hidden:
        seen.append(site.hooked)
        return site.hooked.output

    for first_position in (0, 1):
        run = {"protocol": protocol, "first_position": first_position}
        evaluate(subject, CODERS["transcoder"], TOKENS[:4], [look], **run)
        whole = subject.capture(TOKENS[:4])
        positions = POSITIONS[protocol, first_position]
        torch.testing.assert_close(seen[-1].input, whole.input[:, positions])
        torch.testing.assert_close(seen[-1].output, whole.output[:, positions])


# --- However it is run --------------------------------------------------------------------------


@contextmanager
def batches(contexts: int, tokens: int, nodes: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH_SIZE", contexts)
        patch.setattr(module, "TOKENS_AT_ONCE", {"cpu": tokens, "cuda": tokens})
        patch.setattr(module, "TREE_NODES", nodes)
        yield


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(MLP)),
    st.sampled_from(Protocol),
    st.sampled_from(KINDS),
    st.lists(st.integers(0, CONTEXTS - 1), min_size=1, max_size=CONTEXTS, unique=True),
    st.lists(st.sampled_from(Condition), min_size=1, max_size=len(Condition)),
    st.integers(1, 10),
    st.sampled_from([1, 7, 40, 1000]),
    st.sampled_from([1, 6, 20, 1000]),
)
def test_order_and_batches_change_nothing(
    architecture: str,
    protocol: Protocol,
    kind: tuple[str, str],
    rows: list[int],
    chosen: list[Condition],
    contexts: int,
    tokens: int,
    nodes: int,
) -> None:
    subject, coder = subject_of(architecture, kind[1]), CODERS[kind[0]]
    splices = conditions(POSITIONS[protocol, 1])
    run = {"protocol": protocol, "first_position": 1}
    expected = evaluate(subject, coder, TOKENS, list(splices.values()), **run)
    with batches(contexts, tokens, nodes):
        found = evaluate(subject, coder, TOKENS, [splices[c] for c in chosen], rows=rows, **run)
    which = [list(splices).index(condition) for condition in chosen]
    assert found.loss.shape == found.kl.shape == (len(chosen), len(rows))
    cells = np.ix_(which, rows)
    assert_alike(found, Evaluated(expected.loss[cells], expected.kl[cells], 0), 1e-5)


@every_protocol
def test_no_rows_and_no_splices_have_no_losses(protocol: Protocol) -> None:
    def shape(splices: list[Splice], rows: list[int]) -> tuple[int, ...]:
        found = evaluate(
            tiny_subject(),
            CODERS["SAE"],
            TOKENS,
            splices,
            rows=rows,
            protocol=protocol,
            first_position=1,
        )
        assert found.nodes == 0
        assert found.loss.shape == found.kl.shape
        return found.loss.shape

    assert shape([zero, untouched], []) == (2, 0)
    assert shape([], [3, 4]) == (0, 2)


@every_protocol
def test_divergence_can_be_left_out(protocol: Protocol) -> None:
    subject, coder = tiny_subject(), CODERS["skip transcoder"]
    splices = list(conditions(POSITIONS[protocol, 1]).values())
    run = {"protocol": protocol, "first_position": 1}
    with_it = evaluate(subject, coder, TOKENS, splices, **run)
    without = evaluate(subject, coder, TOKENS, splices, divergence=False, **run)
    assert np.isnan(without.kl).all()
    np.testing.assert_allclose(without.loss, with_it.loss, rtol=0, atol=1e-5)


def test_what_begins_alike_is_run_once() -> None:
    # One context, positions 1 to 5. A splice that differs from the real latents at position 4 only
    # shares positions 1 to 3 with them: 5 + 2 nodes. Its double adds none, nor does the untouched
    # model, which is not counted. Zero shares nothing: 5 more.
    values = torch.full((CONTEXTS, SEQ, len(SET)), NAN)
    values[:, 4] = 6
    changed = rewritten(at(values, POSITIONS[Protocol.WHOLE, 1]))

    def nodes(*splices: Splice) -> int:
        return evaluate(
            tiny_subject(),
            CODERS["transcoder"],
            TOKENS,
            splices,
            rows=[3],
            protocol=Protocol.WHOLE,
            first_position=1,
        ).nodes

    assert nodes(untouched) == 0
    assert nodes(real_latents) == 5
    assert nodes(real_latents, changed) == 7
    assert nodes(real_latents, changed, untouched, changed) == 7
    assert nodes(real_latents, changed, zero) == 12


# --- What is known ------------------------------------------------------------------------------


@every_protocol
@every_architecture
def test_what_is_known_is_taken_and_the_rest_is_run(architecture: str, protocol: Protocol) -> None:
    subject, coder = subject_of(architecture), CODERS["skip transcoder"]
    positions = POSITIONS[protocol, 1]
    run = {"protocol": protocol, "first_position": 1}
    # Latents are real all over, but for contexts 1 and 7 at position 5, and for the beginning of
    # the sequence and the last token, which are never spliced.
    values = torch.full((CONTEXTS, SEQ, len(SET)), NAN)
    values[[1, 7], 5] = 6
    values[:, [0, SEQ - 1]] = 6
    splices = [rewritten(at(values, positions)), real_latents, zero]
    expected = evaluate(subject, coder, TOKENS, splices, **run)

    # Such figures cannot come from the model: where they turn up they were taken.
    known = Known(real_latents, np.arange(CONTEXTS) + 1000.0, np.arange(CONTEXTS) + 2000.0)
    found = evaluate(subject, coder, TOKENS, splices, known=[known], **run)
    same = np.array([i not in (1, 7) for i in range(CONTEXTS)])
    assert np.array_equal(found.loss[0, same], known.loss[same])
    assert np.array_equal(found.kl[0, same], known.kl[same])
    assert np.array_equal(found.loss[1], known.loss)
    assert np.array_equal(found.kl[1], known.kl)
    for cells in ((0, ~same), (2, slice(None))):
        assert_alike(
            Evaluated(found.loss[cells], found.kl[cells], 0),
            Evaluated(expected.loss[cells], expected.kl[cells], 0),
            1e-5,
        )


@every_protocol
def test_known_figures_belong_to_the_rows(protocol: Protocol) -> None:
    rows = [8, 0, 3]
    run = {"protocol": protocol, "first_position": 1, "rows": rows}
    known = Known(zero, np.array([1.5, 2.5, 3.5]), np.array([4.5, 5.5, 6.5]))
    for contexts in (1, 2, 8):
        with batches(contexts, 40, 40):
            found = evaluate(
                tiny_subject(), CODERS["SAE"], TOKENS, [no_latents, zero], known=[known], **run
            )
        assert np.array_equal(found.loss[1], known.loss)
        assert np.array_equal(found.kl[1], known.kl)


@pytest.mark.parametrize("room", [0, module.KEPT_BYTES])
@every_protocol
@every_architecture
def test_what_is_kept_changes_nothing(
    architecture: str, protocol: Protocol, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", room)
    subject, coder, kept = subject_of(architecture), CODERS["SAE"], Kept()
    run = {"protocol": protocol, "first_position": 1}
    first = evaluate(subject, coder, TOKENS, [real_latents, zero], kept=kept, **run)
    assert_alike(first, evaluate(subject, coder, TOKENS, [real_latents, zero], **run), 0.0)
    assert all((kept.reference(row) is not None) == bool(room) for row in range(CONTEXTS))
    again = [no_latents, untouched, zero]
    found = evaluate(subject, coder, TOKENS, again, kept=kept, **run)
    other = evaluate(subject, coder, TOKENS, again, **run)
    assert_alike(found, other, 1e-6)
    assert found.nodes == other.nodes


@pytest.mark.parametrize("divergence", [True, False])
@every_protocol
@every_architecture
def test_nothing_is_run_where_everything_is_known(
    architecture: str, protocol: Protocol, divergence: bool
) -> None:
    # More contexts than one batch holds.
    subject = subject_of(architecture)
    known = [
        Known(splice, np.arange(CONTEXTS) + 0.5, np.arange(CONTEXTS) + 7.5)
        for splice in (untouched, zero)
    ]
    head = subject.model.get_output_embeddings()
    assert isinstance(head, nn.Module)
    called: list[Tensor] = []
    handle = head.register_forward_hook(lambda _, args, logits: called.append(logits))
    try:
        found = evaluate(
            subject,
            CODERS["SAE"],
            TOKENS,
            [zero, untouched],
            known=known,
            divergence=divergence,
            protocol=protocol,
            first_position=1,
        )
    finally:
        handle.remove()
    assert not called
    assert found.nodes == 0
    assert np.array_equal(found.loss, [known[1].loss, known[0].loss])
    assert np.array_equal(found.kl, [known[1].kl, known[0].kl])


def test_a_known_untouched_model_keeps_its_figures() -> None:
    # Also where it is run again, for the divergence of something else.
    known = Known(untouched, np.arange(CONTEXTS) + 1000.0, np.zeros(CONTEXTS))
    run = {"protocol": Protocol.WHOLE, "first_position": 1}
    found = evaluate(tiny_subject(), CODERS["SAE"], TOKENS, [untouched, zero], known=[known], **run)
    assert np.array_equal(found.loss[0], known.loss)
    expected = evaluate(tiny_subject(), CODERS["SAE"], TOKENS, [zero], **run)
    np.testing.assert_allclose(found.kl[1:], expected.kl, rtol=0, atol=1e-5)


# --- What must hold of any simulation -----------------------------------------------------------


@every_kind
@every_protocol
@every_architecture
def test_perfect_and_useless_simulations(
    architecture: str, protocol: Protocol, kind: str, cut: str
) -> None:
    subject, coder = subject_of(architecture, cut), CODERS[kind]
    positions = POSITIONS[protocol, 1]
    site = Site(coder, subject.capture(TOKENS))
    real = site.real.view(CONTEXTS, SEQ, -1)
    every = torch.arange(LATENTS)
    own, nothing = at(real, positions, every), at(torch.zeros_like(real), positions, every)
    some = random_values()
    zeros = at(some.where(some.isnan(), 0.0), positions)
    gone = at(torch.full_like(some, NAN), positions)
    found = evaluate(
        subject,
        coder,
        TOKENS,
        [
            *(real_latents, rewritten(own), oracle_gating(own), oracle_values(own)),
            *(rewritten(gone), set_zeroed(gone)),
            *(no_latents, rewritten(nothing), set_zeroed(own), oracle_values(nothing)),
            *(set_zeroed(at(some, positions)), rewritten(zeros)),
            untouched,
        ],
        protocol=protocol,
        first_position=1,
    )
    for figures in (found.loss, found.kl):
        # Real values are the real latents (but for rounding: they are from another forward pass),
        # and so are values that are all missing.
        np.testing.assert_allclose(figures[1:4], figures[:1].repeat(3, 0), rtol=0, atol=1e-5)
        assert (figures[4:6] == figures[0]).all()
        # Zeros for all latents are no latents.
        assert (figures[7:10] == figures[6]).all()
        # Zeros for some are these zeroed, and neither is one of the above.
        assert (figures[11] == figures[10]).all()
        assert np.abs(figures[10] - figures[0]).max() > 1e-3
        assert np.abs(figures[10] - figures[6]).max() > 1e-3
    # Only the untouched model diverges from itself by nothing.
    assert (found.kl[12] == 0).all()
    assert (found.kl[:12] > 0).all()
    # And the coder's own forward in the module's place is what the real latents are.
    x = "input" if coder.kind == "transcoder" else "output"
    with subject.replacing(lambda hooked: spliced_by_itself(coder, hooked, x, positions)):
        own_loss = subject.losses(TOKENS)[:, positions].mean(1).numpy()
    np.testing.assert_allclose(found.loss[0], own_loss, rtol=0, atol=1e-5)


def spliced_by_itself(coder: Coder, hooked: Hooked, reads: str, positions: list[int]) -> Hidden:
    new = hooked.output.clone()
    x = getattr(hooked, reads)[:, positions]
    new[:, positions] = whole_forward(coder, x.flatten(0, 1)).view_as(x)
    return new


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
@pytest.mark.parametrize("protocol", Protocol)
def test_a_loss_that_is_no_finite_number_is_missing(protocol: Protocol, value: float) -> None:
    def overflow(site: Site, rows: Tensor) -> Tensor:
        output = site.hooked.output.clone()
        output[rows == 1, -1] = value
        return output

    subject = tiny_subject("gpt2")
    # A norm would take the size away, so it is put behind the last one.
    subject = Subject(subject.model, subject.tokenizer, subject.source, "ln_f")
    tokens = random_tokens(3, 6)
    with torch.no_grad():
        found = evaluate(
            subject,
            random_coder(),
            tokens,
            [overflow, untouched],
            protocol=protocol,
            first_position=1,
        )
    assert np.isnan(found.loss[0, 1]) and np.isnan(found.kl[0, 1])
    assert np.isfinite(found.loss[0, [0, 2]]).all() and np.isfinite(found.loss[1]).all()
    assert np.isfinite(found.kl[1]).all()
