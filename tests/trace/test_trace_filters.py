"""Path interventions in a convolutional network, and switches of latents, against slow forms."""

import numpy as np
import pytest
import torch

import microtome as mt
from microtome.errors import ShapeError, SiteError, UsageError
from microtome.stimuli.task import Task
from microtome.subject.basis import Linear
from microtome.testing.planted_filters import planted_filters
from microtome.testing.planted_switch import planted_switch
from microtome.trace import feature_switch, path_intervention
from microtome.trace.filter_maps import filter_maps
from microtome.trace.path_intervention import contributions, cut, reaching


@pytest.fixture(scope="module")
def network():
    """Three convolutions with stride, padding and a frozen batch norm between them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = torch.nn.Sequential(
            torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.BatchNorm2d(3), torch.nn.ReLU(),
            torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 1), torch.nn.Flatten(),
            torch.nn.Linear(27, 4),
        ).eval()  # fmt: skip
        module[1].running_mean.normal_()
        images = torch.randn(6, 2, 8, 8)
    answers = torch.arange(6) % 4
    task = Task("any", images, torch.zeros_like(images), answers, (answers + 1) % 4, kind="image", groups=list(range(6)))
    return mt.Subject(module), task


def test_every_effect_equals_zeroing_one_weight_by_hand(network):
    subject, task = network
    table = path_intervention(subject, task, metric="log_prob", twins=1).table
    assert len(table) == 2 * 3 + 3 * 4 + 4 * 3
    rows = torch.arange(6)
    with torch.no_grad():
        whole = subject.module(task.clean).log_softmax(-1)[rows, task.answers]
        for _, row in table.iloc[::3].iterrows():
            weight = subject.module[int(row["layer"])].weight
            kept = weight[row["child"], row["parent"]].clone()
            weight[row["child"], row["parent"]] = 0
            lost = whole - subject.module(task.clean).log_softmax(-1)[rows, task.answers]
            weight[row["child"], row["parent"]] = kept
            assert row["effect"] == pytest.approx(float(lost.mean()), abs=1e-5)


def test_contributions_and_bias_are_the_output(network):
    subject, _ = network
    module, x = subject.module[3], torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        total = contributions(module, x).sum(1) + module.bias[:, None, None]
        torch.testing.assert_close(total, module(x))


def test_cut_leaves_the_subject_as_it_was(network):
    subject, task = network
    before = subject.fingerprint()
    table = path_intervention(subject, task, twins=1).table
    mended = cut(subject, table.iloc[:4])
    assert subject.fingerprint() == before != mended.fingerprint()
    for _, row in table.iloc[:4].iterrows():
        assert (mended.module[int(row["layer"])].weight[row["child"], row["parent"]] == 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_planted_path_is_recovered(seed):
    case = planted_filters(seed)
    table = path_intervention(case.subject, case.task, twins=12, seed=seed).table
    assert table.loc[table["kept"], ["layer", "parent", "child"]].values.tolist() == case.path


def test_random_weights_keep_hardly_anything():
    shares = []
    for seed in range(5):
        case = planted_filters(seed, structured=False)
        twin = case.subject.twin(seed=seed)
        shares.append(path_intervention(twin, case.task, twins=12, seed=seed).table["kept"].mean())
    assert np.mean(shares) <= 0.05


def test_only_connections_that_lead_on_are_kept():
    edges = [(0, 0, 0), (0, 0, 1), (1, 0, 2), (1, 1, 3)]
    assert reaching(edges, np.array([True, True, True, False]), 2).tolist() == [True, False, True, False]


def test_maps_lie_where_the_filters_are_active(network):
    subject, task = network
    table = path_intervention(subject, task, twins=1).table
    last = table[(table["layer"] == "0") & (table["child"] == 1)]
    with torch.no_grad():
        active = subject.module[0](task.clean)[:, 1].relu()
    torch.testing.assert_close(filter_maps(subject, task.clean, last), active / active.mean())


def test_layers_that_do_not_fit_are_refused(network):
    subject, task = network
    with pytest.raises(SiteError, match="follow"):
        path_intervention(subject, task, layers=["3", "0"])
    with pytest.raises(SiteError, match="convolution"):
        path_intervention(subject, task, layers=["7"])


def test_a_switch_equals_an_edited_run_by_hand():
    """feature_switch in a rotated basis: x + (value - z_k) d_k at one position, one example at a time."""
    case = planted_switch(2, n=8)
    width = case.basis.dim
    turned, _ = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(0)))
    basis = Linear(case.basis.site, turned, turned.T.contiguous())
    latents = [3, 3, 5, 5, 7, 7, 9, 9]
    found = feature_switch(case.subject, case.task, basis, latents=latents, values=4.0, positions=case.position, draws=2)
    block, hits = case.subject.module.transformer.h[int(case.basis.site.split(".")[1])], []
    for i, k in enumerate(latents):

        def move(_, args, k=k):
            x = args[0].clone()
            here = x[0, case.position]
            x[0, case.position] = here + (4.0 - here @ turned[:, k]) * turned[:, k]
            return (x, *args[1:])

        handle = block.register_forward_pre_hook(move)
        with torch.no_grad():
            hits.append(int(case.subject.module(case.task.corrupt[i : i + 1]).logits[0, -1].argmax() == case.task.answers[i]))
        handle.remove()
    assert found.estimate.value == pytest.approx(np.mean(hits))
    rows = found.table.set_index("latent")["success"]
    assert rows.tolist() == pytest.approx([np.mean(hits[i : i + 2]) for i in range(0, 8, 2)])


def test_the_planted_coordinate_is_recovered_and_others_do_nothing():
    case = planted_switch(1)
    found = feature_switch(case.subject, case.task, case.basis, latents=case.latents, values=3.0, positions=case.position)
    assert found.verdict == "supported"
    assert found.estimate.value > 0.9
    assert found.controls["without a switch"] == 0
    assert found.controls["edited input"] == 1
    assert found.controls["random latents"] < 0.1
    with pytest.raises(ShapeError, match="24"):
        feature_switch(case.subject, case.task, case.basis, latents=[1], values=3.0)


def test_several_latents_are_set_at_once_to_values_of_their_own():
    """One edit by hand: x + sum_k (value_k - z_k) d_k, one or two latents per example."""
    case = planted_switch(4, n=6)
    width = case.basis.dim
    turned, _ = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(3)))
    basis = Linear(case.basis.site, turned, turned.T.contiguous())
    goal = turned.T[:, case.latents[0]]  # the planted coordinate lies in two turned ones and others
    strong = torch.stack([turned[k] @ goal for k in range(width)]).abs().argsort(descending=True)[:2].tolist()
    latents, values = [strong] * 3 + [strong[:1]] * 3, [[9.0, -9.0]] * 3 + [[9.0]] * 3
    found = feature_switch(case.subject, case.task, basis, latents=latents, values=values, positions=case.position, draws=2)
    block, hits = case.subject.module.transformer.h[int(case.basis.site.split(".")[1])], []
    for i, (units, levels) in enumerate(zip(latents, values)):

        def move(_, args, units=units, levels=levels):
            x = args[0].clone()
            z = x[0, case.position] @ turned
            for k, level in zip(units, levels):
                x[0, case.position] += (level - z[k]) * turned[:, k]
            return (x, *args[1:])

        handle = block.register_forward_pre_hook(move)
        with torch.no_grad():
            hits.append(int(case.subject.module(case.task.corrupt[i : i + 1]).logits[0, -1].argmax() == case.task.answers[i]))
        handle.remove()
    assert found.estimate.value == pytest.approx(np.mean(hits))
    assert set(found.table["latent"]) == {"+".join(map(str, strong)), str(strong[0])}


def test_latents_and_values_must_correspond():
    case = planted_switch(1, n=4)

    def switch(latents, values):
        return feature_switch(case.subject, case.task, case.basis, latents=latents, values=values, positions=case.position)

    with pytest.raises(ShapeError, match="as many as"):
        switch([[1, 2], [1], [3], [4]], [[1.0, 2.0], [1.0, 2.0], [1.0], [1.0]])
    with pytest.raises(UsageError, match="different"):
        switch([[1, 1], [2], [3], [4]], 3.0)
    with pytest.raises(UsageError, match=r"0\.\.31"):
        switch([[], [2], [3], [4]], 3.0)


def test_a_weak_latent_counts_where_what_is_there_is_cleared():
    """By hand, at two places: half of the stream becomes half a unit of one axis, which is lost when added."""
    case = planted_switch(3)
    width, half = case.basis.dim, case.basis.dim // 2
    axes = torch.eye(width)[:, :half]
    basis, block = Linear(case.basis.site, axes, axes.T.contiguous()), int(case.basis.site.split(".")[1])
    given = {"latents": case.latents, "values": 0.5, "positions": torch.tensor([[case.position, 4]] * 24), "draws": 1}
    added, alone = (feature_switch(case.subject, case.task, basis, **given, cleared=c) for c in ((), range(half)))
    hits = []
    for i, k in enumerate(case.latents):

        def move(_, args, k=k):
            x = args[0].clone()
            for p in (case.position, 4):
                x[:, p, :half] = 0.5 * torch.eye(half)[k]
            return (x, *args[1:])

        handle = case.subject.module.transformer.h[block].register_forward_pre_hook(move)
        with torch.no_grad():
            likeliest = case.subject.module(case.task.corrupt[i : i + 1]).logits[0, -1].argmax()
        handle.remove()
        hits.append(float(likeliest == case.task.answers[i]))
    assert alone.estimate.value == pytest.approx(np.mean(hits))
    assert alone.estimate.value > 0.9 > 0.1 > added.estimate.value


def test_a_random_latent_takes_the_place_of_what_is_cleared():
    """A switch to 0 with everything cleared and any other latent: the same edit, so that the null is the estimate."""
    case = planted_switch(3)
    given = {"latents": [3] * 24, "values": 0.0, "positions": case.position, "draws": 3}
    kept, gone = (feature_switch(case.subject, case.task, case.basis, **given, cleared=c) for c in ((), range(case.basis.dim)))
    assert gone.nulls[0].statistics.tolist() == [gone.estimate.value] * 3
    assert kept.controls["random latents"] != gone.controls["random latents"]
