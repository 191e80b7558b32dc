"""The language organism: a tokenizer with one token per word, shipped weights that reach their figures, truth in code."""

import pytest
import torch

from microtome.errors import UsageError
from microtome.organisms.language import LanguageTruth, build
from microtome.organisms.language.evaluate import evaluate, score
from microtome.organisms.language.network import SPECIAL, build_network, build_tokenizer
from microtome.stimuli.language import BEHAVIOURS, corpus, vocabulary


@pytest.fixture(scope="module")
def organism():
    return build()


def test_one_token_per_word(organism):
    _, tokenizer, _ = organism
    for text in corpus(200, seed=5).inputs:
        found = tokenizer(text, return_offsets_mapping=True)
        words = text.split(" ")
        assert len(found["input_ids"]) == len(words) + 1
        assert found["input_ids"][0] == tokenizer.bos_token_id
        assert tokenizer.convert_ids_to_tokens(found["input_ids"][1:]) == words
        assert [text[a:b] for a, b in found["offset_mapping"][1:]] == words
        assert tokenizer.decode(found["input_ids"][1:]) == text
    assert tokenizer.unk_token_id not in tokenizer(vocabulary(), is_split_into_words=True)["input_ids"]


def test_tokenizer_and_network_fit_each_other(organism):
    network, tokenizer, _ = organism
    assert len(tokenizer) == network.config.vocab_size == network.lm_head.weight.shape[0]
    assert network.lm_head.weight is network.model.embed_tokens.weight
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert build_tokenizer(vocabulary()).get_vocab() == tokenizer.get_vocab()
    assert tokenizer("zzz")["input_ids"] == [1, tokenizer.unk_token_id]
    batch = tokenizer(["rome is in", "people in france speak"], padding=True, return_tensors="pt")
    assert batch["attention_mask"].sum(1).tolist() == [4, 5]


def test_shipped_weights_reach_their_figures(organism):
    network, tokenizer, truth = organism
    stated = truth.figures["behaviours"]
    found = evaluate(network, tokenizer.get_vocab(), n=100, seed=99)
    assert set(found) == set(stated) == set(truth.tasks)
    for name, figures in found.items():
        assert abs(figures["mass"] - stated[name]["mass"]) < 0.08, name
        if name in truth.deterministic:
            assert figures["accuracy"] > stated[name]["accuracy"] - 0.07, name


def test_deterministic_behaviours_are_mastered(organism):
    stated = organism[2].figures["behaviours"]
    assert {name: stated[name]["accuracy"] for name in organism[2].deterministic if stated[name]["accuracy"] < 0.95} == {}
    assert stated["greater_than"]["mass"] > 0.95


def test_the_metric_of_a_task_agrees_with_the_figures(organism):
    """Plain Hugging Face use, without the package's own evaluation."""
    network, tokenizer, truth = organism
    task = truth.task("ioi", 60, seed=3)
    right = 0
    with torch.no_grad():
        for clean, answer in zip(task.clean, task.answers):
            logits = network(**tokenizer(clean, return_tensors="pt")).logits[0, -1]
            right += tokenizer.convert_ids_to_tokens(int(logits.argmax())) == answer
    assert right / 60 > truth.figures["behaviours"]["ioi"]["accuracy"] - 0.1


def test_an_untrained_network_masters_nothing():
    words = build_tokenizer(vocabulary()).get_vocab()
    network = build_network(len(words) - len(SPECIAL), seed=1)
    assert score(network, words, BEHAVIOURS["facts"].prompts(60, 0))["accuracy"] < 0.15
    assert 0.2 < score(network, words, BEHAVIOURS["truth"].prompts(60, 0))["contrast"] < 0.8


def test_building_a_network_is_seeded_and_touches_no_global_generator():
    before = torch.get_rng_state()
    a, b, c = build_network(20, 0), build_network(20, 0), build_network(20, 1)
    assert torch.equal(torch.get_rng_state(), before)
    same = [torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters())]
    assert all(same)
    assert not torch.equal(a.model.embed_tokens.weight, c.model.embed_tokens.weight)


def test_truth_is_in_code():
    truth = LanguageTruth()
    assert truth.facts["city_country"]["rome"] == "italy"
    for person, language in truth.facts["person_language"].items():
        city = truth.facts["person_city"][person]
        assert truth.facts["country_language"][truth.facts["city_country"][city]] == language
    assert set(truth.held_out) <= set(truth.facts["person_city"])
    assert set(truth.deterministic) == set(truth.tasks) - {"occupation"}
    assert set(truth.properties) >= {"colour", "name.female", "ioi.subject", "toxic", "bracket.deep", "code"}
    assert truth.corpus(5, 1).fingerprint() == corpus(5, 1).fingerprint()
    with pytest.raises(UsageError, match="no behaviour"):
        truth.task("nope")


def test_packed_documents_do_not_see_each_other():
    from microtome.organisms.language.training import batches, own_document

    words = build_tokenizer(vocabulary()).get_vocab()
    network = build_network(len(words) - len(SPECIAL), seed=0)
    ids, part, value = next(iter(batches(words, {}, 3)))
    with torch.no_grad():
        packed = network(input_ids=ids[:1], attention_mask=own_document(part[:1])).logits[0]
        for k in range(int(part[0].max()) + 1):
            alone = network(input_ids=ids[0][part[0] == k][None]).logits[0]
            torch.testing.assert_close(packed[part[0] == k], alone, atol=1e-5, rtol=1e-4)
    assert (value[ids == 1] == 0).all()
    assert (value[part < 0] == 0).all()
    assert value.max() == 1


def test_a_short_training_is_the_same_twice(monkeypatch):
    from microtome.organisms.language import training

    monkeypatch.setattr(training, "ROWS", 4)
    monkeypatch.setattr(training, "CHUNK", 100)
    monkeypatch.setattr(training, "STAGES", (training.Stage("first", 3), training.Stage("second", 2, most=1.0)))
    words = build_tokenizer(vocabulary()).get_vocab()
    monkeypatch.setattr(training, "figures", lambda network, words, tokens: {"tokens": tokens})
    monkeypatch.setattr(training, "evaluate", lambda network, words, n, seed, few: {})
    first, second = training.train(seed=5), training.train(seed=5)
    assert all(torch.equal(x, y) for x, y in zip(first[0].parameters(), second[0].parameters()))
    untrained = build_network(len(words) - len(SPECIAL), seed=5)
    assert not torch.equal(first[0].model.embed_tokens.weight, untrained.model.embed_tokens.weight)
    assert first[1]["vocab_size"] == len(words)
    assert first[2] == second[2]
    assert first[2]["tokens"] > 500


def test_a_stage_ends_at_the_check_where_its_behaviour_is_mastered(monkeypatch):
    from microtome.organisms.language import training

    shown = []
    monkeypatch.setattr(training, "ROWS", 4)
    monkeypatch.setattr(training, "CHUNK", 60)
    monkeypatch.setattr(training, "CHECK", 2)

    def evaluated(network, words, n, seed, few):
        shown.append(dict(few))
        return {name: {"accuracy": 0.3 * len(shown), "mass": 0.5} for name in ("pronoun", "gender")}

    monkeypatch.setattr(training, "evaluate", evaluated)
    words = build_tokenizer(vocabulary()).get_vocab()
    network = build_network(len(words) - len(SPECIAL), seed=0)
    only = {name: 0.0 for name in BEHAVIOURS if name != "pronoun"}
    stage = training.Stage("first", 50, boost=only, words={"pronoun": 3}, until="pronoun")
    saved = []
    training.run(network, words, stage, 0, lambda: saved.append(len(shown)))
    assert saved == [2, 3, 4]  # mastered at the fourth evaluation, the first being before any step
    assert shown == [{"pronoun": 3}] * 4


def test_a_stage_of_few_words_shows_no_others():
    from microtome.organisms.language.training import batches
    from microtome.stimuli.language.lexicon import OCCUPATIONS

    words = build_tokenizer(vocabulary()).get_vocab()
    only = {name: float(name == "pronoun") for name in BEHAVIOURS}
    seen = {int(i) for ids, _, _ in batches(words, only, 0, few={"pronoun": 3}) for i in ids.flatten()}
    assert {word for word in OCCUPATIONS if words[word] in seen} == set(tuple(OCCUPATIONS)[:3])


def test_a_stage_leaves_short_documents_out():
    from microtome.organisms.language.training import batches

    words = build_tokenizer(vocabulary()).get_vocab()
    only = {name: float(name == "code") for name in BEHAVIOURS}
    lengths = [int((part == k).sum()) - 2 for _, part, _ in batches(words, only, 0, shortest={"code": 26}) for k in range(3)]
    assert min(n for n in lengths if n > 0) >= 26
