"""compiled-ioi: every prompt answered as computed by hand, each head's role, the backup, and the circuit's scores."""

import numpy as np
import pytest
import torch
from heads import head_values, last_logits, logit_difference, replaced
from slow_transformer import forward

from microtome.organisms.compiled import ioi
from microtome.stimuli.algorithmic.indirect import NAMES, indirect_object, indirect_object_all

NOISE = 0.1
"""What six noise heads may add to a logit (their outputs are random at scale 0.02)."""


@pytest.fixture(scope="module")
def model():
    return ioi.build()


@pytest.fixture(scope="module")
def task():
    return indirect_object(160, seed=1)


@pytest.fixture(scope="module")
def reference(model, task):
    """Mean output of each head over ABC prompts, per template and position: what knocks a head out."""
    module, tokenizer, _ = model
    pool = indirect_object(480, seed=2)
    z, size, groups = head_values(module, tokenizer, pool.corrupt), module.config.head_dim, np.array(pool.groups)
    means = {}
    for layer, values in z.items():
        table = torch.zeros(8, 32, values.shape[-1])
        for g in range(8):
            table[g, : values.shape[1]] = values[torch.from_numpy(groups == g)].mean(0)
        longest = max(len(t.split()) for t in task.clean) + 1
        rows = table[torch.tensor(task.groups), :longest]
        for head in range(module.config.num_attention_heads):
            means[layer, head] = rows[..., head * size : (head + 1) * size]
    return means


def score(model, task, reference, kept=None, dropped=()):
    """Mean logit difference with every head outside `kept` (default: none) and every head in `dropped` knocked out."""
    module, tokenizer, truth = model
    every = {(h.layer, h.head) for h in truth.heads}
    out = (every - set(kept) if kept is not None else set()) | set(dropped)
    with replaced(module, {place: reference[place] for place in out}):
        return float(logit_difference(last_logits(module, tokenizer, task.clean), tokenizer, task).mean())


def test_all_prompts_are_answered_with_the_predicted_difference(model):
    """LD = 4 * (1 + 1 - 1/2) * (a_io - a_s), where the attention of movers is a softmax of 10, 10 - 4 and zeros."""
    module, tokenizer, _ = model
    every = indirect_object_all()
    logits = last_logits(module, tokenizer, every.clean)
    right = torch.tensor(tokenizer.convert_tokens_to_ids(every.answers))
    assert bool((logits.argmax(-1) == right).all())
    others = np.array([len(t.split()) + 1 - 3 for t in every.clean])
    weights = np.exp([10.0, 10.0 - 4.0])
    total = weights[0] + 2 * weights[1] + others
    predicted = 4 * 1.5 * (weights[0] - 2 * weights[1]) / total
    found = logit_difference(logits, tokenizer, every).double().numpy()
    assert np.abs(found - predicted).max() < 0.3
    assert abs((found - predicted).mean()) < 0.05


def test_the_module_agrees_with_the_slow_oracle(model, task):
    module, tokenizer, _ = model
    fast = last_logits(module, tokenizer, task.clean[:6])
    for i in range(6):
        slow, _, _ = forward(module, tokenizer(task.clean[i])["input_ids"])
        assert np.abs(slow - fast[i].double().numpy()).max() < 1e-4


def test_each_head_attends_and_writes_as_its_role_says(model):
    module, tokenizer, truth = model
    task = indirect_object(12, seed=3)
    unembed = {n: module.lm_head.weight[tokenizer.convert_tokens_to_ids(n)].detach().double().numpy() for n in NAMES}
    for i, text in enumerate(task.clean):
        words = ["<bos>", *text.split()]
        io = words.index(task.answers[i])
        s1, s2 = (k for k, word in enumerate(words) if word == task.wrong[i])
        _, patterns, wrote = forward(module, tokenizer(text)["input_ids"])
        for h in truth.heads:
            at = patterns[h.layer, h.head][-1]
            push = unembed[task.answers[i]] @ wrote[h.layer, h.head][-1]
            if h.role == "s-inhibition":
                assert at[s2] > 0.99
                inhibited = truth.directions["inhibit"].double().numpy() @ wrote[h.layer, h.head][-1]
                assert int(inhibited.argmax()) == NAMES.index(task.wrong[i])
            elif h.role == "tagger":
                for k in (io, s1, s2):
                    same = [j for j in range(k + 1) if words[j] == words[k]]
                    assert patterns[h.layer, h.head][k, same].sum() > 0.99
                    tag = truth.directions["tag"].double().numpy() @ wrote[h.layer, h.head][k]
                    assert int(tag.argmax()) == NAMES.index(words[k])
            elif h.role == "mover":
                assert at[io] > 0.95 > 0.05 > at[s1] + at[s2]
                assert push > 3.5
            elif h.role == "negative mover":
                assert at[io] > 0.95
                assert push < -1.7
            elif h.role == "backup mover":
                assert at[[io, s1, s2]].sum() < 0.01
                assert abs(push) < 0.05
            else:
                assert max(abs(unembed[n] @ wrote[h.layer, h.head][-1]) for n in NAMES) < NOISE


@pytest.mark.parametrize("how", ["zero", "mean"])
def test_the_backup_is_off_unless_a_mover_is_off(model, task, reference, how):
    module, tokenizer, truth = model
    (backup,) = truth.of("backup mover")
    size = module.config.head_dim

    right, wrong = (torch.tensor([NAMES.index(name) for name in names]) for names in (task.answers, task.wrong))
    rows, last = torch.arange(len(task)), torch.tensor([len(t.split()) for t in task.clean])

    def push(off):
        """How much more the backup copies the answer than the wrong name. Its first 16 values are tags of names."""
        with replaced(module, {place: 0.0 if how == "zero" else reference[place] for place in off}):
            z = head_values(module, tokenizer, task.clean)[backup[0]][rows, last]
        tags = z[:, backup[1] * size : backup[1] * size + 16]
        return tags[rows, right] - tags[rows, wrong]

    assert float(push([]).abs().max()) < 0.05
    for h in truth.heads:
        change = push([(h.layer, h.head)])
        if h.role == "mover":
            assert float(change.min()) > 0.9
        elif h.role not in ("s-inhibition", "tagger"):  # without these the movers fail: they read both names
            assert float(change.abs().max()) < 0.1, h
    assert float(push(truth.of("mover")).min()) > 0.9


def test_the_circuit_is_faithful_incomplete_without_backup_and_complete_with_it(model, task, reference):
    """The accept figures of the IOI entry: faithfulness >= 0.95, gap >= 0.3 without and <= 0.05 with the backup."""
    truth = model[2]
    full = score(model, task, reference)
    naive = [place for role in ("s-inhibition", "tagger", "mover", "negative mover") for place in truth.of(role)]
    whole = naive + truth.of("backup mover")
    assert score(model, task, reference, naive) / full >= 0.95
    movers = truth.of("mover")
    knocked = [[movers[0]], [movers[1]], movers]

    def gap(circuit, k):
        kept = [place for place in circuit if place not in k]
        return abs(score(model, task, reference, kept) - score(model, task, reference, None, k)) / full

    assert min(gap(naive, k) for k in knocked) >= 0.3
    assert max(gap(whole, k) for k in [*knocked, *([place] for place in whole)]) <= 0.05


def test_random_circuits_of_equal_size_are_not_faithful(model, task, reference):
    truth, generator = model[2], np.random.default_rng(0)
    places = [(h.layer, h.head) for h in truth.heads]
    full = score(model, task, reference)
    scores = []
    for _ in range(40):
        chosen = [places[i] for i in generator.choice(len(places), 5, replace=False)]
        scores.append(score(model, task, reference, chosen) / full)
    assert np.mean(np.abs(scores)) <= 0.3


def test_adding_a_noise_head_changes_nothing(model, task, reference):
    truth = model[2]
    whole = [(h.layer, h.head) for h in truth.circuit]
    for place in truth.of("noise"):
        change = score(model, task, reference, [*whole, place]) - score(model, task, reference, whole)
        assert abs(change) < 0.02 * score(model, task, reference)


def test_the_truth_counts_what_was_planted(model):
    _, _, truth = model
    sizes = {"s-inhibition": 1, "tagger": 1, "mover": 2, "backup mover": 1, "negative mover": 1, "noise": 6}
    assert {role: len(truth.of(role)) for role in sizes} == sizes
    assert len(truth.heads) == 12
    names = {f"{h.layer}.{h.head}" for h in truth.circuit} | {"embed", "logits"}
    assert {end for edge in truth.edges for end in edge} == names
    assert truth.role(2, 3) == "backup mover"


def test_padding_on_either_side_changes_nothing(model, task):
    module, tokenizer, _ = model
    texts = task.clean[:8]
    single = torch.cat([last_logits(module, tokenizer, [t]) for t in texts])
    assert torch.allclose(last_logits(module, tokenizer, texts), single, atol=1e-4)
    longest = max(len(t.split()) for t in texts) + 1
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, text in enumerate(texts):
        row = torch.tensor(tokenizer(text)["input_ids"])
        ids[i, -len(row) :], mask[i, -len(row) :] = row, 1
    with torch.no_grad():
        assert torch.allclose(module(ids, mask).logits[:, -1], single, atol=1e-4)
