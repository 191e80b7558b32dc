"""compiled-patching, compiled-induction and compiled-scm against exact predictions and the catalogue's figures."""

import numpy as np
import pytest
import torch
from heads import encode, head_values, last_logits, logit_difference, replaced
from slow_transformer import forward

from microtome.errors import UsageError
from microtome.organisms.compiled import induction, patching, scm
from microtome.rng import torch_rng
from microtome.stimuli.algorithmic.capitals import FACTS, recall, recall_all
from microtome.stimuli.algorithmic.letters import LETTERS, repeats


@pytest.fixture(scope="module")
def recaller():
    return patching.build()


class Patched:
    """Denoising on recall prompts: a corrupted run that takes chosen heads from the clean one."""

    def __init__(self, built, task, corrupt=None):
        self.module, self.tokenizer, self.truth = built
        self.task, self.corrupt = task, corrupt
        self.clean = head_values(self.module, self.tokenizer, task.clean)
        size = self.module.config.head_dim
        self.values = {
            (h.layer, h.head): self.clean[h.layer][..., h.head * size : (h.head + 1) * size] for h in self.truth.heads
        }

        clean = logit_difference(last_logits(self.module, self.tokenizer, task.clean), self.tokenizer, task)
        self.start, self.end = self.difference(), float(clean.mean())

    def logits(self, places=()):
        with replaced(self.module, {place: self.values[place] for place in places}):
            if self.corrupt is not None:
                return self.corrupt()
            return last_logits(self.module, self.tokenizer, self.task.corrupt)

    def difference(self, places=()):
        return float(logit_difference(self.logits(places), self.tokenizer, self.task).mean())

    def effect(self, *places):
        return (self.difference(places) - self.start) / (self.end - self.start)

    def probability(self, places=()):
        right = torch.tensor(self.tokenizer.convert_tokens_to_ids(self.task.answers))
        return float(self.logits(places).softmax(-1)[torch.arange(len(right)), right].mean())


def test_recall_answers_every_prompt_with_the_predicted_difference(recaller):
    """Positive + first redundant - half negative, each copying its attribute at logit 4: 4 * 1.5 = 6."""
    module, tokenizer, _ = recaller
    task = recall_all()
    logits = last_logits(module, tokenizer, task.clean)
    right = torch.tensor(tokenizer.convert_tokens_to_ids(task.answers))
    assert bool((logits.argmax(-1) == right).all())
    difference = logit_difference(logits, tokenizer, task)
    assert float((difference - 6.0).abs().max()) < 0.4
    assert abs(float(difference.mean()) - 6.0) < 0.05


def test_recall_agrees_with_the_slow_oracle(recaller):
    module, tokenizer, _ = recaller
    texts = recall(4).clean
    fast = last_logits(module, tokenizer, texts)
    for i, text in enumerate(texts):
        assert np.abs(forward(module, tokenizer(text)["input_ids"])[0] - fast[i].double().numpy()).max() < 1e-4


def test_logit_difference_finds_both_signs_and_probability_misses_the_negative_head(recaller):
    run = Patched(recaller, recall_all())
    (positive,), (negative,) = run.truth.of("positive"), run.truth.of("negative")
    assert run.effect(positive) >= 0.2
    assert run.effect(negative) <= -0.2
    assert abs(run.probability([negative]) - run.probability()) < 0.02
    assert abs(run.probability([positive]) - run.probability()) > 0.02
    for place in run.truth.of("noise"):
        assert abs(run.effect(place)) < 0.01


def test_the_redundant_pair_is_not_additive(recaller):
    run = Patched(recaller, recall_all())
    (first,), (second,) = run.truth.of("redundant first"), run.truth.of("redundant second")
    joint, parts = run.effect(first, second), run.effect(first) + run.effect(second)
    assert joint - parts >= 0.2
    with replaced(run.module, {first: 0.0}):
        without = logit_difference(last_logits(run.module, run.tokenizer, run.task.clean), run.tokenizer, run.task)
    assert abs(float(without.mean()) - 6.0) < 0.05


def noised(built, task, seed):
    """Gaussian noise on the subject's embedding, three standard deviations of the table."""
    module, tokenizer, _ = built
    table = module.transformer.wte.weight
    ids, mask, last = encode(tokenizer, task.clean)
    countries = torch.tensor(tokenizer.convert_tokens_to_ids(list(FACTS)))
    noise = 3 * table.std() * torch.randn(*ids.shape, table.shape[1], generator=torch_rng(seed, "noise"))
    noise = noise * torch.isin(ids, countries)[..., None]

    def run():
        handle = module.transformer.wte.register_forward_hook(lambda _, __, out: out + noise)
        try:
            with torch.no_grad():
                return module(ids, mask).logits[torch.arange(len(last)), last]
        finally:
            handle.remove()

    return run


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gaussian_noise_flags_the_norm_head_and_replacement_does_not(recaller, seed):
    task = recall(150, seed)
    (norm,) = recaller[2].of("norm")
    places = [(h.layer, h.head) for h in recaller[2].heads]

    def flagged(run):
        effects = np.array([run.effect(place) for place in places])
        return {places[i] for i in np.flatnonzero(np.abs(effects - effects.mean()) > 2 * effects.std())}

    assert norm in flagged(Patched(recaller, task, noised(recaller, task, seed)))
    replacement = Patched(recaller, task)
    assert norm not in flagged(replacement)
    assert abs(replacement.effect(norm)) < 1e-3


@pytest.fixture(scope="module")
def inducer():
    return induction.build()


def test_induction_answers_every_prompt(inducer):
    module, tokenizer, _ = inducer
    task = repeats(600, seed=2)
    logits = last_logits(module, tokenizer, task.clean)
    right = torch.tensor(tokenizer.convert_tokens_to_ids(task.answers))
    assert bool((logits.argmax(-1) == right).all())
    assert float((logit_difference(logits, tokenizer, task) - 10.0).abs().max()) < 0.3


def test_induction_predicts_the_share_of_each_follower_at_every_position(inducer):
    """Logits are 10 * (share of earlier occurrences of the current letter that this letter followed)."""
    module, tokenizer, _ = inducer
    generator = np.random.default_rng(0)
    for _ in range(20):
        letters = [LETTERS[i] for i in generator.integers(0, 5, 20)]
        ids = tokenizer(" ".join(letters), return_tensors="pt").input_ids
        with torch.no_grad():
            logits = module(ids).logits[0, 1:]
        for t, letter in enumerate(letters):
            followers = [letters[s + 1] for s in range(t) if letters[s] == letter]
            wanted = [10 * followers.count(x) / max(1, len(followers)) for x in LETTERS]
            found = logits[t, tokenizer.convert_tokens_to_ids(list(LETTERS))].numpy()
            assert np.abs(found - wanted).max() < 0.3


def test_induction_heads_attend_as_their_roles_say(inducer):
    module, tokenizer, truth = inducer
    task = repeats(6, seed=4)
    for i, text in enumerate(task.clean):
        words = ["<bos>", *text.split()]
        _, patterns, _ = forward(module, tokenizer(text)["input_ids"])
        (previous,), (copy,) = truth.of("previous token"), truth.of("induction")
        assert np.diag(patterns[previous], -1).min() > 0.99
        assert patterns[copy][-1, words.index(task.answers[i])] > 0.99
        for row in range(1, len(words) - 1):
            assert patterns[copy][row, 0] > 0.99


@pytest.mark.parametrize("role", ["previous token", "induction"])
def test_induction_needs_both_heads_and_no_other(inducer, role):
    module, tokenizer, truth = inducer
    task = repeats(100, seed=5)
    with replaced(module, dict.fromkeys(truth.of(role), 0.0)):
        assert abs(float(logit_difference(last_logits(module, tokenizer, task.clean), tokenizer, task).mean())) < 0.1
    with replaced(module, dict.fromkeys(truth.of("noise"), 0.0)):
        exact = logit_difference(last_logits(module, tokenizer, task.clean), tokenizer, task)
    assert float((exact - 10.0).abs().max()) < 5e-3


@pytest.fixture(scope="module")
def linear():
    module, _, effects = scm.build()
    return module, effects, scm.examples(40).inputs


def intervened(module, x, name, value=None, tail=None):
    """The outcome with the output (or, for an arrow, the input) of a submodule set."""
    node = module.get_submodule(name)
    if tail is None:
        handle = node.register_forward_hook(lambda *_: value)
    else:
        handle = node.register_forward_pre_hook(lambda *_: (tail,))
    try:
        with torch.no_grad():
            return module(x)
    finally:
        handle.remove()


def values(module, x, name):
    kept = []
    handle = module.get_submodule(name).register_forward_hook(lambda _, __, out: kept.append(out))
    with torch.no_grad():
        module(x)
    handle.remove()
    return kept[0]


def test_total_effect_is_what_the_module_computes(linear):
    module, effects, x = linear
    with torch.no_grad():
        change = module(x + torch.eye(3)[0]) - module(x)
    assert float((change - effects.total[:, 0]).abs().max()) < 1e-5
    assert float((effects.total - effects.direct - effects.indirect).abs().max()) < 1e-6


@pytest.mark.parametrize("node", ["first", "second"])
def test_indirect_effect_of_layer_unit_and_direction(linear, node):
    module, effects, x = linear
    treated = x + torch.eye(3)[0]
    with torch.no_grad():
        base = module(x)
    a, b = values(module, x, node), values(module, treated, node)
    whole = intervened(module, x, node, b) - base
    assert float((whole - effects.through(node)[:, 0]).abs().max()) < 1e-5
    total = torch.zeros_like(effects.total)
    for i in range(a.shape[1]):
        one = a.clone()
        one[:, i] = b[:, i]
        assert float((intervened(module, x, node, one) - base - effects.unit(node, i)[:, 0]).abs().max()) < 1e-5
        total += effects.unit(node, i)
    assert float((total - effects.through(node)).abs().max()) < 1e-5
    u = torch.nn.functional.normalize(torch.randn(1, a.shape[1], generator=torch_rng(0, "u")), dim=1)
    along = a + (b - a) @ u.T @ u
    assert float((intervened(module, x, node, along) - base - effects.through(node, u)[:, 0]).abs().max()) < 1e-5


@pytest.mark.parametrize("name", scm.ARROWS)
def test_effect_of_every_arrow(linear, name):
    module, effects, x = linear
    treated = x + torch.eye(3)[0]
    tail = values(module, treated, scm.ARROWS[name][0])
    with torch.no_grad():
        base = module(x)
    assert float((intervened(module, x, name, tail=tail) - base - effects.arrow(name)[:, 0]).abs().max()) < 1e-5


def test_the_arrows_into_the_outcome_sum_to_the_total(linear):
    _, effects, _ = linear
    parts = [effects.arrow(name) for name, (_, head) in scm.ARROWS.items() if head == "outcome"]
    assert float((sum(parts) - effects.total).abs().max()) < 1e-5


def test_the_planted_mediator_ranks_first(linear):
    _, effects, _ = linear
    sizes = {(node, i): abs(float(effects.unit(node, i)[0, 0])) for node, n in (("first", 8), ("second", 5)) for i in range(n)}
    assert max(sizes, key=sizes.__getitem__) == effects.planted
    assert sorted(sizes.values())[-1] > 2 * sorted(sizes.values())[-2]


def test_unknown_mediators_and_arrows_are_refused(linear):
    _, effects, _ = linear
    with pytest.raises(UsageError, match=r"no mediator 'frst'.*'first'"):
        effects.through("frst")
    with pytest.raises(UsageError, match="no arrow"):
        effects.arrow("x_to_frst")
