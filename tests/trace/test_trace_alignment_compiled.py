"""The causal variable of a compiled organism: which name the prompt repeats, found where the construction puts it."""

import torch

import microtome as mt
from microtome.stimuli import Interchanges
from microtome.stimuli.algorithmic.indirect import NAMES
from microtome.trace import das, interchange

SITE = "blocks.0.resid_post"  # where the inhibition head has written the repeated name


def repeated_name(subject, n, seed):
    """Interchanges of the repeated name: sources repeat the other name of their base, or (every second one) the same."""
    task = subject.organism.examples(n, seed)
    texts, names = [], []
    for i, (text, answer) in enumerate(zip(task.clean, task.answers)):
        words = text.split()
        last = max(place for place, word in enumerate(words) if word in NAMES)
        names.append(words[last] if i % 2 else answer)
        if i % 2:
            words[last] = answer
        texts.append(" ".join(words))
    ids = [torch.tensor(subject.tokenizer.convert_tokens_to_ids(words)) for words in (names, task.answers)]
    return Interchanges("repeated name", task.clean, {"repeated": texts}, *ids)


def test_das_recovers_the_variable_of_the_compiled_organism_and_not_in_a_twin():
    subject = mt.load("organism:compiled-ioi")
    fitted, held_out = repeated_name(subject, 128, 0), repeated_name(subject, 128, 1)
    found = []
    for one in (subject, subject.twin("reinit", seed=0)):
        basis = das(one, fitted, site=SITE, position=-1, size=len(NAMES), steps=80)
        found.append(interchange(one, held_out, basis, random=3).estimate.value)
    assert found[0] >= 0.95
    assert found[1] <= 0.2


def test_the_planted_directions_are_themselves_an_exact_alignment():
    subject = mt.load("organism:compiled-ioi")
    pairs = repeated_name(subject, 64, 2)
    planted = subject.organism.truth.directions["inhibit"]
    basis = mt.trace.AlignedLinear(SITE, planted.T, {"repeated": list(range(len(planted)))}, position=-1)
    assert interchange(subject, pairs, basis, random=3).estimate.value == 1.0
