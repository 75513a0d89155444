"""Going on from the hookpoint is what a whole forward pass with a hook does."""

import pytest
import torch
from torch import Tensor

from interp.model.resume import suspend
from interp.model.subject import Hooked, Subject
from tests.engine import (
    D_MODEL,
    HOOKPOINTS,
    MLP,
    random_tokens,
    tiny_subject,
)

CONTEXTS, SEQ = 3, 9
TOKENS = random_tokens(CONTEXTS, SEQ)
EVERY_ROW = torch.arange(CONTEXTS)

SPLICED = [slice(1, 8), slice(0, 8), slice(7, 8), slice(3, 6)]
"""All but the first and last, all but the last, the last that predicts, and some in the middle."""


def whole(subject: Subject, where: slice, outputs: Tensor, tokens: Tensor = TOKENS) -> Tensor:
    """Logits of a whole forward pass with a hook that puts ``outputs`` in the module's place."""

    def replace(hooked: Hooked) -> Tensor:
        new = hooked.output.clone()
        new[:, where] = outputs
        return new

    with torch.inference_mode(), subject.replacing(replace):
        return subject.model(tokens, use_cache=False).logits[:, where]


def random_outputs(where: slice, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(CONTEXTS, where.stop - where.start, D_MODEL, generator=generator)


@pytest.mark.parametrize("where", SPLICED, ids=str)
@pytest.mark.parametrize(("architecture", "hookpoint"), HOOKPOINTS)
def test_resuming_is_a_whole_forward_with_a_hook(
    architecture: str, hookpoint: str, where: slice
) -> None:
    subject = tiny_subject(architecture, hookpoint)
    suspended = suspend(subject, TOKENS, where)
    own = subject.capture(TOKENS).output[:, where]
    torch.testing.assert_close(suspended.hooked.output, own, rtol=0, atol=1e-4)
    # Again and again on what was suspended once, and with any outputs.
    for outputs in (own, random_outputs(where), torch.zeros_like(own)):
        torch.testing.assert_close(
            suspended.resume_paths(EVERY_ROW, outputs),
            whole(subject, where, outputs),
            rtol=0,
            atol=1e-4,
        )


@pytest.mark.parametrize("where", SPLICED, ids=str)
@pytest.mark.parametrize(("architecture", "hookpoint"), HOOKPOINTS)
def test_outputs_that_branch_off_are_each_a_whole_forward(
    architecture: str, hookpoint: str, where: slice
) -> None:
    # Two paths that part at their second position. Their nodes alternate in one sequence, so that
    # a node's place in the sequence is not its position in the context.
    subject = tiny_subject(architecture, hookpoint)
    length = where.stop - where.start
    first, second = random_outputs(where, 1), random_outputs(where, 2)
    second[:, 0] = first[:, 0]
    outputs = torch.stack([first, second], dim=2).flatten(1, 2)
    path = torch.arange(2 * length) % 2
    places = torch.arange(2 * length) // 2
    sees = (places[:, None] >= places) & (path[:, None] == path)
    # The second path's first node is the first's: its own is seen by none but itself.
    later = (path == 1) & (places > 0)
    sees[later, 0], sees[later, 1] = True, False
    found = suspend(subject, TOKENS, where).resume(
        EVERY_ROW,
        outputs,
        places.expand(CONTEXTS, -1),
        sees.expand(CONTEXTS, -1, -1),
    )
    for number, one in enumerate((first, second)):
        torch.testing.assert_close(
            found[:, path == number], whole(subject, where, one), rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("architecture", MLP)
def test_a_context_may_come_in_any_row_and_more_than_once(architecture: str) -> None:
    subject = tiny_subject(architecture)
    where = SPLICED[0]
    rows = torch.tensor([2, 0, 2, 2, 1])
    outputs = torch.cat([random_outputs(where, 1), random_outputs(where, 2)])[:5]
    torch.testing.assert_close(
        suspend(subject, TOKENS, where).resume_paths(rows, outputs),
        whole(subject, where, outputs, TOKENS[rows]),
        rtol=0,
        atol=1e-4,
    )


@pytest.mark.parametrize("architecture", MLP)
def test_what_comes_after_the_spliced_positions_is_never_run(architecture: str) -> None:
    subject = tiny_subject(architecture)
    where = slice(3, 6)
    outputs = random_outputs(where)
    expected = suspend(subject, TOKENS, where).resume_paths(EVERY_ROW, outputs)
    lengths: list[int] = []
    handles = [
        subject.model.get_output_embeddings().register_forward_hook(
            lambda _, args, logits: lengths.append(logits.shape[1])
        ),
        subject.model.base_model.get_submodule(subject.hookpoint).register_forward_hook(
            lambda _, args, out: lengths.append(out.shape[1])
        ),
    ]
    try:
        other = TOKENS.clone()
        other[:, 6:] = 1
        found = suspend(subject, other, where).resume_paths(EVERY_ROW, outputs)
    finally:
        for handle in handles:
            handle.remove()
    assert torch.equal(found, expected)
    # The module on the prefix, on the spliced positions, and on these once more; the head on these.
    assert lengths == [3, 3, 3, 3]


@pytest.mark.parametrize("architecture", MLP)
def test_layers_below_the_hookpoint_are_run_once_for_all(architecture: str) -> None:
    subject = tiny_subject(architecture, MLP[architecture].replace("1", "2"))
    suspended = suspend(subject, TOKENS, SPLICED[0])
    below = subject.model.base_model.get_submodule(MLP[architecture])
    called: list[Tensor] = []
    handle = below.register_forward_hook(lambda _, args, output: called.append(output))
    try:
        suspended.resume_paths(EVERY_ROW, random_outputs(SPLICED[0]))
        assert not called
        subject.model(TOKENS)
        assert called
    finally:
        handle.remove()


@pytest.mark.parametrize("architecture", MLP)
def test_the_model_is_left_as_it_was(architecture: str) -> None:
    subject = tiny_subject(architecture, MLP[architecture].replace("1", "2"))
    before = subject.losses(TOKENS)
    suspended = suspend(subject, TOKENS, SPLICED[0])
    outputs = random_outputs(SPLICED[0])
    suspended.resume_paths(EVERY_ROW, outputs)
    assert_as_it_was(subject, before)
    # Also where it fails: these outputs are too narrow for the layers above.
    with pytest.raises(RuntimeError):
        suspended.resume_paths(EVERY_ROW, outputs[..., :-1])
    assert_as_it_was(subject, before)


def assert_as_it_was(subject: Subject, losses: Tensor) -> None:
    for module in subject.model.modules():
        assert "forward" not in vars(module)
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert torch.equal(subject.losses(TOKENS), losses)
