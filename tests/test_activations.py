"""Sparse activations: collected, kept in shards, read back a latent at a time."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from interp.activations import ActivationStore, LatentActivations, collect
from interp.coders.coder import coder_input
from tests.engine import MLP, random_coder, random_tokens, tiny_subject

SEQ, LATENTS = 6, 12


def dense_by_hand(architecture: str, transcode: bool, tokens: Tensor) -> Tensor:
    """Activations of all latents, shape (context, seq, latent), by the coder's own encoder."""
    coder = random_coder(transcode=transcode)
    x = coder_input(coder, tiny_subject(architecture).capture(tokens))
    pre_activations = coder.module.encode(x.flatten(0, 1)).pre_acts.view(*x.shape[:2], -1)
    top = pre_activations.topk(coder.k)
    return torch.zeros_like(pre_activations).scatter(-1, top.indices, top.values)


def read_dense(store: ActivationStore, contexts: int) -> Tensor:
    """All that a store holds, shape (context, seq, latent)."""
    every = list(range(contexts))
    columns = [latent.dense(every, store.seq) for latent in store.read(range(LATENTS))]
    return torch.from_numpy(np.stack(columns, axis=-1))


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(sorted(MLP)),
    st.booleans(),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 1),
    st.integers(0, 99),
)
def test_a_store_holds_what_a_dense_run_gives(
    architecture: str,
    transcode: bool,
    contexts: int,
    shard: int,
    batch_size: int,
    first_position: int,
    seed: int,
) -> None:
    tokens = random_tokens(contexts, SEQ, seed)
    with tempfile.TemporaryDirectory() as folder:
        store = ActivationStore(Path(folder) / "explain", SEQ)
        for start in range(0, contexts, shard):
            assert not store.has(start)
            collected = collect(
                tiny_subject(architecture),
                random_coder(transcode=transcode),
                tokens[start : start + shard],
                first_position=first_position,
                batch_size=batch_size,
            )
            store.write(start, collected)
            assert store.has(start)
        found = read_dense(store, contexts)
        tokens_seen, mean_output = store.summary()
    expected = dense_by_hand(architecture, transcode, tokens)
    expected[:, :first_position] = 0
    # A beginning-of-sequence token is never collected.
    assert not found[:, :first_position].any()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    output = tiny_subject(architecture).capture(tokens).output[:, first_position:]
    assert tokens_seen == contexts * (SEQ - first_position)
    expected_mean = output.double().numpy().reshape(-1, output.shape[-1]).mean(0)
    np.testing.assert_allclose(mean_output.numpy(), expected_mean, atol=1e-4, rtol=1e-4)


@pytest.fixture
def store(tmp_path: Path) -> ActivationStore:
    """Nine contexts in shards of four, four and one."""
    store = ActivationStore(tmp_path / "explain", SEQ)
    tokens = random_tokens(9, SEQ)
    for start in range(0, 9, 4):
        shard = collect(tiny_subject(), random_coder(), tokens[start : start + 4], first_position=1)
        store.write(start, shard)
    return store


def same(one: LatentActivations, other: LatentActivations) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_shard_is_sorted_by_latent_and_keeps_only_what_is_active() -> None:
    shard = collect(tiny_subject(), random_coder(), random_tokens(9, SEQ), first_position=1)
    assert len(shard.offsets) == LATENTS + 1
    assert shard.offsets[0] == 0
    assert shard.offsets[-1] == len(shard.positions) == len(shard.activations)
    assert (shard.offsets.diff() >= 0).all()
    assert (shard.activations > 0).all()
    # At most k = 3 of the 12 latents are active on a token; nine contexts have five tokens each.
    assert 0 < len(shard.activations) <= 3 * 9 * 5
    assert shard.tokens == 9 * 5


def test_a_run_of_latents_is_read_as_each_of_them_alone(store: ActivationStore) -> None:
    together = list(store.read(range(2, 7)))
    assert len(together) == 5
    for latent, found in zip(range(2, 7), together, strict=True):
        (alone,) = store.read(range(latent, latent + 1))
        assert same(found, alone)
        # In the order of the text, across shards.
        where = found.contexts * SEQ + found.positions
        assert (np.diff(where) > 0).all()
    assert max(found.contexts.max() for found in together if len(found.contexts)) >= 4


def test_reading_a_latent_reads_its_slice_and_not_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from interp import stored

    read: list[tuple[str, int]] = []

    class Watched:
        """A file that notes how much of each tensor is read."""

        def __init__(self, path: Path, framework: str) -> None:
            self.file = safe_open(path, framework)

        def __enter__(self) -> "Watched":
            self.file.__enter__()
            return self

        def __exit__(self, *error: object) -> None:
            self.file.__exit__(*error)

        def get_tensor(self, name: str) -> Tensor:
            tensor = self.file.get_tensor(name)
            read.append((name, len(tensor)))
            return tensor

        def get_slice(self, name: str) -> "Slice":
            return Slice(name, self.file.get_slice(name))

    class Slice:
        def __init__(self, name: str, inner: object) -> None:
            self.name, self.inner = name, inner

        def __getitem__(self, span: slice) -> Tensor:
            tensor = self.inner[span]  # type: ignore[index]
            read.append((self.name, len(tensor)))
            return tensor

    safe_open = stored.safe_open
    shard = collect(tiny_subject(), random_coder(), random_tokens(9, SEQ), first_position=1)
    store = ActivationStore(tmp_path, SEQ)
    store.write(0, shard)
    monkeypatch.setattr(stored, "safe_open", Watched)
    latent = int(shard.offsets.diff().argmax())
    (found,) = store.read(range(latent, latent + 1))
    own = len(found.activations)
    assert 0 < own < len(shard.activations)
    assert read == [("offsets", LATENTS + 1), ("positions", own), ("activations", own)]


def test_dead_latents_are_read_as_empty(tmp_path: Path) -> None:
    coder = random_coder()
    coder.module.encoder.weight[[0, 5, 11]] = 0
    coder.module.encoder.bias[[0, 5, 11]] = -1
    store = ActivationStore(tmp_path, SEQ)
    store.write(0, collect(tiny_subject(), coder, random_tokens(40, SEQ), first_position=1))
    lengths = [len(latent.activations) for latent in store.read(range(LATENTS))]
    assert [i for i, length in enumerate(lengths) if length == 0] == [0, 5, 11]
    for latent in (0, 5, 11):
        (dead,) = store.read(range(latent, latent + 1))
        assert dead.dense([0, 3], SEQ).tolist() == [[0.0] * SEQ] * 2


def test_an_entirely_dead_coder_can_be_kept(tmp_path: Path) -> None:
    coder = random_coder()
    coder.module.encoder.weight.zero_()
    coder.module.encoder.bias.fill_(-1)
    store = ActivationStore(tmp_path, SEQ)
    store.write(0, collect(tiny_subject(), coder, random_tokens(4, SEQ), first_position=1))
    assert not read_dense(store, 4).any()


def test_dense_gives_the_asked_contexts_in_the_asked_order(store: ActivationStore) -> None:
    latent = max(store.read(range(LATENTS)), key=lambda found: len(found.activations))
    every = latent.dense(list(range(9)), SEQ)
    assert np.array_equal(latent.dense([7, 0, 4], SEQ), every[[7, 0, 4]])
    assert every.sum() == pytest.approx(latent.activations.sum())


def test_a_partial_file_is_no_shard(store: ActivationStore) -> None:
    expected, tokens = read_dense(store, 9), store.summary()[0]
    partial = store.path(9).with_suffix(".partial")
    partial.write_bytes(store.path(0).read_bytes()[:100])
    assert not store.has(9)
    assert torch.equal(read_dense(store, 9), expected)
    assert store.summary()[0] == tokens
    # Writing the shard again takes the place of what was left behind.
    store.write(9, collect(tiny_subject(), random_coder(), random_tokens(1, SEQ), first_position=1))
    assert store.has(9)
    assert not partial.exists()


def test_writing_a_shard_again_changes_nothing(store: ActivationStore) -> None:
    expected = read_dense(store, 9)
    shard = collect(tiny_subject(), random_coder(), random_tokens(9, SEQ)[4:8], first_position=1)
    store.write(4, shard)
    assert torch.equal(read_dense(store, 9), expected)


def test_batches_change_nothing() -> None:
    tokens = random_tokens(9, SEQ)
    one = collect(tiny_subject(), random_coder(), tokens, first_position=1, batch_size=9)
    other = collect(tiny_subject(), random_coder(), tokens, first_position=1, batch_size=2)
    assert torch.equal(one.offsets, other.offsets)
    assert torch.equal(one.positions, other.positions)
    torch.testing.assert_close(one.activations, other.activations, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(one.output_sum, other.output_sum, atol=1e-4, rtol=1e-4)
