"""Sparse activations: collected, kept in shards, read back a latent at a time."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, safe_open, save_file
from torch import Tensor
from transformers import Cache

from interp.coders import protocol
from interp.coders.capture import collect
from interp.coders.formats.sparsify import SparsifyCoder
from interp.coders.protocol import Latents, coder_input
from interp.corpus.activations import ActivationStore, LatentActivations, StoreError
from interp.errors import InputError
from interp.model.subject import TOKENS_AT_ONCE, Hooked
from tests.engine import MLP, random_coder, random_tokens, tiny_subject

SEQ, LATENTS = 6, 12


def dense_by_hand(architecture: str, transcode: bool, tokens: Tensor) -> Tensor:
    """Activations of all latents, shape (context, seq, latent), by the coder's own encoder."""
    coder = random_coder(transcode=transcode)
    x = coder_input(coder, tiny_subject(architecture).capture(tokens))
    pre_activations = coder.module.encode(x.flatten(0, 1)).pre_acts.view(*x.shape[:2], -1)
    top = pre_activations.topk(coder.module.cfg.k)
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
        store = ActivationStore(
            Path(folder) / "explain", SEQ, contexts=contexts, first_position=first_position
        )
        for start in range(0, contexts, shard):
            assert store.missing() == [range(start, contexts)]
            collected = collect(
                tiny_subject(architecture),
                random_coder(transcode=transcode),
                tokens[start : start + shard],
                first_position=first_position,
                tokens_at_once=batch_size * SEQ,
            )
            store.write(start, collected)
        assert store.missing() == []
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
    np.testing.assert_allclose(mean_output, expected_mean, atol=1e-4, rtol=1e-4)


def store_in(folder: Path, contexts: int, **about: str) -> ActivationStore:
    """A store of contexts that begin with a token that is not collected."""
    return ActivationStore(folder, SEQ, contexts=contexts, first_position=1, about=about)


@pytest.fixture
def store(tmp_path: Path) -> ActivationStore:
    """Nine contexts in shards of four, four and one."""
    store = store_in(tmp_path / "explain", 9)
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
    assert (np.diff(shard.offsets) >= 0).all()
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
    from interp.corpus import activations

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

        def get_tensor(self, name: str) -> np.ndarray:
            tensor = self.file.get_tensor(name)
            read.append((name, tensor.size))
            return tensor

        def metadata(self) -> dict[str, str]:
            return self.file.metadata()

        def get_slice(self, name: str) -> "Slice":
            return Slice(name, self.file.get_slice(name))

    class Slice:
        def __init__(self, name: str, inner: object) -> None:
            self.name, self.inner = name, inner

        def get_shape(self) -> list[int]:
            return self.inner.get_shape()  # type: ignore[attr-defined, no-any-return]

        def __getitem__(self, span: slice) -> np.ndarray:
            tensor = self.inner[span]  # type: ignore[index]
            read.append((self.name, len(tensor)))
            return tensor

    safe_open = activations.safe_open
    shard = collect(tiny_subject(), random_coder(), random_tokens(9, SEQ), first_position=1)
    store = store_in(tmp_path, 9)
    store.write(0, shard)
    monkeypatch.setattr(activations, "safe_open", Watched)
    latent = int(np.diff(shard.offsets).argmax())
    (found,) = store.read(range(latent, latent + 1))
    own = len(found.activations)
    assert 0 < own < len(shard.activations)
    whole = [("tokens", 1), ("offsets", 1)]
    assert read == [*whole, ("offsets", 2), ("positions", own), ("activations", own)]


def test_dead_latents_are_read_as_empty(tmp_path: Path) -> None:
    coder = random_coder()
    coder.module.encoder.weight[[0, 5, 11]] = 0
    coder.module.encoder.bias[[0, 5, 11]] = -1
    store = store_in(tmp_path, 40)
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
    store = store_in(tmp_path, 4)
    store.write(0, collect(tiny_subject(), coder, random_tokens(4, SEQ), first_position=1))
    assert not read_dense(store, 4).any()
    store.verify()


def test_dense_gives_the_asked_contexts_in_the_asked_order(store: ActivationStore) -> None:
    latent = max(store.read(range(LATENTS)), key=lambda found: len(found.activations))
    every = latent.dense(list(range(9)), SEQ)
    assert np.array_equal(latent.dense([7, 0, 4], SEQ), every[[7, 0, 4]])
    assert every.sum() == pytest.approx(latent.activations.sum())


def test_a_partial_file_is_no_shard(store: ActivationStore) -> None:
    store.path(8).unlink()
    partial = store.path(8).with_suffix(".partial")
    partial.write_bytes(store.path(0).read_bytes()[:100])
    assert store.missing() == [range(8, 9)]
    # Writing the shard again takes the place of what was left behind.
    store.write(8, collect(tiny_subject(), random_coder(), random_tokens(1, SEQ), first_position=1))
    assert store.missing() == []
    assert not partial.exists()


def test_writing_a_shard_again_changes_nothing(store: ActivationStore) -> None:
    expected = read_dense(store, 9)
    shard = collect(tiny_subject(), random_coder(), random_tokens(9, SEQ)[4:8], first_position=1)
    store.write(4, shard)
    assert torch.equal(read_dense(store, 9), expected)


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = random_tokens(9, SEQ)
    subject, coder = tiny_subject(), random_coder()
    one = collect(subject, coder, tokens, first_position=1, tokens_at_once=9 * SEQ)
    monkeypatch.setattr(protocol, "ENCODED_AT_ONCE", 3)
    other = collect(
        tiny_subject(), random_coder(), tokens, first_position=1, tokens_at_once=2 * SEQ
    )
    assert np.array_equal(one.offsets, other.offsets)
    assert np.array_equal(one.positions, other.positions)
    np.testing.assert_allclose(one.activations, other.activations, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(one.output_sum, other.output_sum, atol=1e-4, rtol=1e-4)


# --- What is lost is not silent -----------------------------------------------------------------


def refused(store: ActivationStore, match: str) -> None:
    """No way of reading gives anything, and each says what is wrong and what to do."""
    for read in (
        store.check,
        store.summary,
        lambda: list(store.read(range(LATENTS))),
        lambda: next(store.read(range(3, 4))),
    ):
        with pytest.raises(StoreError, match=rf"(?s){match}.*palimpsest collect"):
            read()


def test_a_folder_that_is_not_there_is_refused(store: ActivationStore) -> None:
    store.folder.rename(store.folder.with_name("elsewhere"))
    refused(store, rf"9 contexts are missing.*no folder {store.folder}.*PALIMPSEST_HOME")
    assert store.missing() == [range(9)]


@pytest.mark.parametrize(
    ("lost", "named", "gaps"),
    [
        ([0], 0, [range(0, 4)]),
        ([4], 4, [range(4, 8)]),
        ([8], 8, [range(8, 9)]),
        ([0, 8], 0, [range(0, 4), range(8, 9)]),
        ([0, 4, 8], 0, [range(0, 9)]),
    ],
)
def test_a_lost_shard_is_refused_by_name(
    store: ActivationStore, lost: list[int], named: int, gaps: list[range]
) -> None:
    for start in lost:
        store.path(start).unlink()
    refused(store, rf"contexts are missing.*no file {store.path(named)}")
    assert store.missing() == gaps


@pytest.mark.parametrize("kept", [0, 7, 60, 0.5, -1])
def test_a_shard_that_is_cut_short_is_refused(store: ActivationStore, kept: float) -> None:
    content = store.path(4).read_bytes()
    store.path(4).write_bytes(content[: int(kept * len(content)) if kept == 0.5 else int(kept)])
    refused(store, rf"{store.path(4)} is damaged or cut short")
    assert store.missing() == [range(4, 8)]


def test_a_shard_that_cannot_be_opened_is_refused(store: ActivationStore) -> None:
    store.path(4).unlink()
    store.path(4).mkdir()
    refused(store, rf"{store.path(4)} ")


@pytest.mark.parametrize("tensor", ["offsets", "positions", "activations", "tokens"])
def test_blocks_of_zeros_are_refused(store: ActivationStore, tensor: str) -> None:
    """What a disk gives back after a power cut: the length is right, the content is not."""
    tensors = load_file(store.path(4))
    with safe_open(store.path(4), "np") as file:
        says = file.metadata()
    save_file({**tensors, tensor: np.zeros_like(tensors[tensor])}, store.path(4), says)
    with pytest.raises(StoreError, match=rf"{store.path(4)} is damaged"):
        list(store.read(range(LATENTS)))

    assert_mended(store, [range(4, 8)])


def assert_mended(store: ActivationStore, gaps: list[range]) -> None:
    """A damaged store is found out, and collecting what it says is missing makes it whole."""
    with pytest.raises(StoreError):
        store.verify()
    assert store.missing() == gaps
    tokens = random_tokens(9, SEQ)
    fresh = store_in(store.folder.with_name("fresh"), 9)
    for into, runs in ((store, gaps), (fresh, [range(9)])):
        for gap in runs:
            some = tokens[gap.start : gap.stop]
            into.write(gap.start, collect(tiny_subject(), random_coder(), some, first_position=1))
    store.remove_strays()
    assert store.missing() == []
    store.verify()
    store.summary()
    torch.testing.assert_close(read_dense(store, 9), read_dense(fresh, 9), rtol=0, atol=1e-5)


def test_a_sum_that_is_no_number_is_refused(store: ActivationStore) -> None:
    tensors = load_file(store.path(4))
    tensors["output_sum"][3] = np.nan
    save_file(tensors, store.path(4))
    with pytest.raises(StoreError, match=rf"{store.path(4)} is damaged"):
        store.summary()
    assert_mended(store, [range(4, 8)])


@pytest.mark.parametrize("start", [2, 6, 9, 20])
def test_a_stray_shard_is_removed(store: ActivationStore, start: int) -> None:
    stray = store.path(start)
    stray.write_bytes(store.path(0).read_bytes())
    assert store.missing() == []
    store.remove_strays()
    assert not stray.exists()
    store.verify()


def test_a_stray_shard_that_stands_for_a_lost_one_is_kept(store: ActivationStore) -> None:
    shard = collect(tiny_subject(), random_coder(), random_tokens(9, SEQ)[2:6], first_position=1)
    store.path(0).unlink()
    # Written beside the others, as no write would: it overlaps the shard that begins at 4.
    other = store_in(store.folder.with_name("other"), 9)
    other.write(2, shard)
    other.path(2).rename(store.path(2))
    assert_mended(store, [range(2), range(6, 8)])


def test_a_name_that_no_write_gives_is_no_shard(store: ActivationStore) -> None:
    copy = store.folder / "4.safetensors"
    copy.write_bytes(store.path(4).read_bytes())
    store.verify()
    store.remove_strays()
    assert store.missing() == [] and copy.exists()


def test_a_shard_of_a_coder_with_fewer_latents_is_missing(store: ActivationStore) -> None:
    tensors = load_file(store.path(4))
    offsets = tensors["offsets"][:-1]
    kept = {name: tensors[name][: offsets[-1]] for name in ("positions", "activations")}
    save_file({**tensors, **kept, "offsets": offsets}, store.path(4))
    told = ActivationStore(store.folder, SEQ, contexts=9, first_position=1, latents=LATENTS)
    refused(told, "another coder: it holds 11 latents, not 12")
    assert_mended(told, [range(4, 8)])


def test_shards_of_something_else_are_refused(tmp_path: Path) -> None:
    shard = collect(tiny_subject(), random_coder(), random_tokens(9, SEQ), first_position=1)
    store_in(tmp_path, 9, study="1", coder="a").write(0, shard)
    store_in(tmp_path, 9, study="1", coder="a").check()
    for other in ({"study": "2", "coder": "a"}, {"study": "1", "coder": "b"}):
        refused(store_in(tmp_path, 9, **other), "does not belong here")
        assert store_in(tmp_path, 9, **other).missing() == [range(9)]
    # Another number of contexts, and contexts of another length.
    refused(store_in(tmp_path, 8, study="1"), "does not belong here")
    refused(store_in(tmp_path, 10, study="1"), "1 contexts are missing")
    refused(ActivationStore(tmp_path, SEQ + 1, contexts=9, first_position=1), "its seq is 6, not 7")
    # A coder with more latents.
    with pytest.raises(StoreError, match=r"another coder: it holds 12 latents.*latent 12 "):
        list(store_in(tmp_path, 9).read(range(10, LATENTS + 1)))


def test_shards_of_earlier_versions_say_nothing_and_are_read(store: ActivationStore) -> None:
    expected = read_dense(store, 9)
    for start in (0, 4, 8):
        save_file(load_file(store.path(start)), store.path(start))
    told = store_in(store.folder, 9, study="1", coder="a")
    assert torch.equal(read_dense(told, 9), expected)
    # What they can be known by is still looked at.
    with pytest.raises(StoreError, match="contexts of another length"):
        ActivationStore(store.folder, SEQ + 4, contexts=9, first_position=1).check()
    store.path(8).unlink()
    refused(told, "contexts are missing")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.sets(st.integers(0, 8)), st.booleans())
def test_what_is_missing_can_be_made_in_shards_of_any_size(
    before: int, after: int, lost: set[int], cut: bool
) -> None:
    tokens = random_tokens(9, SEQ)
    with tempfile.TemporaryDirectory() as name:
        store = store_in(Path(name), 9)

        def fill(start: int, stop: int) -> None:
            shard = collect(
                tiny_subject(),
                random_coder(),
                tokens[start:stop],
                first_position=1,
                tokens_at_once=1,
            )
            store.write(start, shard)

        for start in range(0, 9, before):
            fill(start, min(start + before, 9))
        expected = read_dense(store, 9)
        gone = [start for start in range(0, 9, before) if start in lost]
        for start in gone:
            if cut:
                store.path(start).write_bytes(store.path(start).read_bytes()[:-1])
            else:
                store.path(start).unlink()
        missing = {row for gap in store.missing() for row in gap}
        assert missing == {row for start in gone for row in range(start, min(start + before, 9))}
        for gap in store.missing():
            for start in range(gap.start, gap.stop, after):
                fill(start, min(start + after, gap.stop))
        assert store.missing() == []
        torch.testing.assert_close(read_dense(store, 9), expected, rtol=0, atol=1e-5)


# --- Values that are no numbers -----------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_context_on_which_the_model_overflows_is_named(value: float) -> None:
    subject = tiny_subject()
    batches: list[Hooked] = []

    def overflow(hooked: Hooked) -> Tensor:
        batches.append(hooked)
        output = hooked.output.clone()
        if len(batches) == 3:
            output[1, -1, 0] = value
        return output

    with (
        subject.replacing(overflow),
        pytest.raises(InputError, match="the module puts out on context 105 is infinite"),
    ):
        collect(
            subject,
            random_coder(),
            random_tokens(9, SEQ),
            first_position=1,
            first_context=100,
            tokens_at_once=2 * SEQ,
        )


def test_long_contexts_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are, as many tokens are run and encoded at once."""
    subject, coder = tiny_subject(), random_coder()
    run, encoded = [], []
    capture, encode = subject.capture, coder.encode

    def captured(tokens: Tensor, cache: Cache | None = None) -> Hooked:
        run.append(tokens.numel())
        return capture(tokens, cache)

    def noted(self: SparsifyCoder, x: Tensor) -> Latents:
        encoded.append(len(x))
        return encode(x)

    monkeypatch.setattr(subject, "capture", captured)
    monkeypatch.setattr(SparsifyCoder, "encode", noted)
    for seq, contexts in ((2500, 3), (64, 40)):
        shard = collect(subject, coder, random_tokens(contexts, seq), first_position=1)
        assert shard.tokens == contexts * (seq - 1)
        assert max(run) <= max(seq, TOKENS_AT_ONCE["cpu"])
        assert max(encoded) <= protocol.ENCODED_AT_ONCE
        run.clear()
        encoded.clear()
