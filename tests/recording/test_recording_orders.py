"""Shuffles, permutations, shifts and bootstraps keep what they promise to keep."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.errors import Degenerate, UsageError
from microtome.subject.recording import Recording
from microtome.subject.recording.orders import shuffled


def made(sizes: list[int], documents: list[int] | None = None) -> Recording:
    """Row r has the value r; one sample per size."""
    rows = sum(sizes)
    index = {"sample": np.repeat(np.arange(len(sizes)), sizes)}
    table = None if documents is None else pd.DataFrame({"document": documents})
    return Recording.of(torch.arange(float(rows))[:, None], index=index, table=table, labels={"odd": np.arange(rows) % 2})


SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(lambda s: sum(s) > 0)


@settings(deadline=None, max_examples=60)
@given(SIZES, st.integers(0, 50))
def test_permuted_keeps_rows_as_a_set_and_the_index_in_place(sizes, seed):
    rec = made(sizes)
    moved = rec.permuted(seed)
    assert sorted(moved.matrix().flatten().tolist()) == list(range(len(rec)))
    pd.testing.assert_frame_equal(moved.index, rec.index)
    assert (moved.labels("odd") == rec.labels("odd")).all()


@settings(deadline=None, max_examples=60)
@given(SIZES, st.integers(0, 50), st.booleans())
def test_shifted_rotates_each_document(sizes, seed, grouped):
    documents = [i % 3 for i in range(len(sizes))] if grouped else None
    rec = made(sizes, documents)
    of_row = np.array(documents)[rec.index["sample"]] if grouped else rec.index["sample"].to_numpy()
    if max(Counter(of_row.tolist()).values()) < 2:
        with pytest.raises(Degenerate):
            rec.shifted(seed)
        return
    moved = rec.shifted(seed).matrix().flatten().numpy()
    for document in set(of_row.tolist()):
        before, after = np.flatnonzero(of_row == document), moved[of_row == document]
        turns = [np.array_equal(np.roll(before, k), after) for k in range(len(before))]
        assert any(turns[1:]) if len(before) > 1 else turns[0]


@settings(deadline=None, max_examples=60)
@given(SIZES, st.integers(0, 50), st.booleans())
def test_resampled_draws_whole_documents(sizes, seed, grouped):
    documents = [i % 3 for i in range(len(sizes))] if grouped else None
    rec = made(sizes, documents)
    drawn = rec.resampled(seed)
    old = drawn.matrix().flatten().long().numpy()
    sample = rec.index["sample"].to_numpy()
    assert (drawn.labels("odd") == rec.labels("odd")[old]).all()
    whole = Counter(sample.tolist())
    for new, rows in drawn.index.groupby("sample").indices.items():
        origin = sample[old[rows[0]]]
        assert old[rows].tolist() == np.flatnonzero(sample == origin).tolist()
        assert len(rows) == whole[origin]
        assert drawn.table["document"][new] == rec.table["document"][origin]
    assert drawn.index["sample"].max() == len(drawn.table) - 1
    present = len(set(np.array(documents)[sample].tolist())) if grouped else len(whole)
    times = Counter(rec.table["document"][sample[old[rows[0]]]] for rows in drawn.index.groupby("sample").indices.values())
    per_document = Counter(rec.table["document"][s] for s in whole)
    assert sum(times[d] // per_document[d] for d in times) == present


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 40000), st.integers(0, 20))
def test_shuffled_is_every_row_once(rows, seed):
    pieces = list(shuffled(rows, seed))
    assert all(len(piece) <= 16384 for piece in pieces)
    joined = np.concatenate([np.zeros(0, int), *pieces])
    assert np.array_equal(np.sort(joined), np.arange(rows))


def test_shuffles_mix_and_repeat():
    rec = Recording.of(torch.arange(40000.0)[:, None])
    first = torch.cat(list(rec.batches(512, seed=0))).flatten()
    assert first.equal(torch.cat(list(rec.batches(100, seed=0))).flatten())
    assert not first.equal(torch.cat(list(rec.batches(512, seed=1))).flatten())
    assert abs(np.corrcoef(first.numpy(), np.arange(40000))[0, 1]) < 0.25
    assert torch.unique(first[:512] // 256).numel() > 40  # one batch meets runs from all over the data


def test_same_seed_same_rows_and_the_global_state_stays():
    rec = made([5, 5, 5])
    torch.manual_seed(0), np.random.seed(0)
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    for change in ("permuted", "shifted", "resampled"):
        a, b, c = (getattr(rec, change)(seed).matrix() for seed in (4, 4, 5))
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
    assert torch.equal(state, torch.random.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()
    with pytest.raises(UsageError):
        rec.permuted(-1)


def test_permuting_is_uniform():
    rec = Recording.of(torch.arange(3.0)[:, None])
    seen = Counter(tuple(rec.permuted(seed).matrix().flatten().tolist()) for seed in range(600))
    assert len(seen) == 6
    assert min(seen.values()) > 60
