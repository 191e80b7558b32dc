"""Tasks bound to a subject: answers, positions, roles, and tokenizers that do not fit."""

import pytest
import torch
from subject_slow import language
from test_record import speaker
from tokenizers_small import letters, words

from microtome.errors import ShapeError, TokenizerError, UsageError
from microtome.stimuli.metrics import METRICS
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject


def task(**changes):
    given = {
        "name": "small",
        "clean": ["the cat sat on", "dogs saw the old", "a ball"], "corrupt": ["the ball sat on", "dogs saw the big", "a cat"],
        "answers": ["mat", "cat", "ran"], "wrong": ["ball", "dogs", "was"],
        "roles": {"subject": [(4, 7), (0, 4), (2, 6)], "verb": [(8, 11), (5, 8), ()]},
    }  # fmt: skip
    return Task(**{**given, **changes})


@pytest.mark.parametrize("template", ["", "[BOS] $A"])
def test_answers_positions_and_roles(template):
    tokenizer = words(template)
    subject, given = speaker(tokenizer), task()
    bound = subject.bind(given)
    vocabulary = tokenizer.get_vocab()
    assert bound.answers.tolist() == [vocabulary[w] for w in given.answers]
    assert bound.wrong.tolist() == [vocabulary[w] for w in given.wrong]
    first = int(template.startswith("[BOS]"))
    assert bound.roles["subject"].tolist() == [first + 1, first, first + 1]
    assert bound.roles["verb"].tolist() == [first + 2, first + 1, -1]
    assert bound.inputs["input_ids"].shape == bound.corrupt["input_ids"].shape
    logits = subject.run(bound.inputs).logits
    ends = bound.inputs.lengths - 1
    rows = logits[torch.arange(3), ends]
    expected = rows[torch.arange(3), bound.answers] - rows[torch.arange(3), bound.wrong]
    torch.testing.assert_close(bound.metric(bound.metric.read(logits)), expected)
    torch.testing.assert_close(bound.metric(subject.run(bound.inputs, logits=bound.metric.positions).logits[:, 0]), expected)
    part = bound[1:]
    assert len(part) == 2
    again = part.metric(part.metric.read(subject.run(part.inputs).logits))
    torch.testing.assert_close(again, expected[1:], atol=1e-5, rtol=1e-4)
    twice = bound.metric.repeat(2)
    torch.testing.assert_close(twice(torch.cat([rows, rows])), expected.repeat(2))


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_binds(name):
    subject = speaker()
    try:
        bound = subject.bind(task(), metric=name)
    except UsageError:
        return
    values = bound.metric(bound.metric.read(subject.run(bound.inputs).logits))
    assert values.shape == (3,)
    assert torch.isfinite(values).all()


def test_what_cannot_be_bound_is_refused():
    subject = speaker()
    with pytest.raises(TokenizerError, match="not a single token"):
        subject.bind(task(answers=["mat mat", "cat", "ran"]))
    with pytest.raises(TokenizerError, match="not a single token"):
        subject.bind(task(answers=["unheard", "cat", "ran"]))
    with pytest.raises(TokenizerError, match="not a single token"):
        speaker(letters()).bind(task(corrupt=task().clean))
    with pytest.raises(TokenizerError, match="ends every text with its end token"):
        speaker(words("$A [EOS]")).bind(task())
    with pytest.raises(ShapeError, match="different token counts"):
        subject.bind(task(corrupt=["the ball sat on it", "dogs saw the big", "a cat"]))
    with pytest.raises(UsageError, match="no metric 'accuracy_of_mind'"):
        subject.bind(task(), metric="accuracy_of_mind")
    bare, _ = language("llama")
    with pytest.raises(TokenizerError, match="no tokenizer"):
        bare.bind(task())


def test_tokenizers_that_do_not_fit_are_refused():
    with pytest.raises(TokenizerError, match="rows in its embedding"):
        Subject(language("llama")[0].module, letters())  # 260 tokens for 64 rows
    silent = words(pad_token=None, eos_token=None)
    subject = speaker(silent)
    assert subject.tokens(["the cat", "a ball"])["input_ids"].shape == (2, 2)
    with pytest.raises(TokenizerError, match="no pad or end token"):
        subject.tokens(["the cat", "a"])
    with pytest.raises(UsageError, match="has no tokens"):
        subject.tokens(["the", ""])
    for wrong in ([], [3]):
        with pytest.raises(UsageError):
            subject.tokens(wrong)


def test_beginnings_and_padding_are_as_asked():
    with_bos, without = speaker(words("[BOS] $A")), speaker(words())
    texts = ["the cat sat", "a"]
    for subject in (with_bos, without):
        on, off = subject.tokens(texts, bos=True), subject.tokens(texts, bos=False, pad="left")
        assert on["input_ids"][:, 0].tolist() == [1, 1]
        assert (off["input_ids"] != 1).all()
        assert off["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    with pytest.raises(TokenizerError, match="beginning"):
        speaker(words(bos_token=None)).tokens(texts, bos=True)
