"""The list of methods is found, not kept."""

import pytest

from microtome import methods
from microtome.errors import UsageError
from microtome.method import Method


def test_records_are_found_once_under_their_key():
    found = methods.all_methods()
    assert list(found) == sorted(found)
    assert found
    for key, record in found.items():
        assert isinstance(record, Method)
        assert record.key == key == record.function.__name__
        assert record.function.method is record
        assert record.call.startswith("mt.")


def test_get_takes_keys_and_calls_and_names_the_nearest():
    key, record = next(iter(methods.all_methods().items()))
    assert methods.get(key) is record
    assert methods.get(record.call) is record
    with pytest.raises(UsageError, match=f"'{key}'"):
        methods.get(key + "x")


def test_search_puts_the_key_first():
    for key, record in methods.all_methods().items():
        assert methods.find(key)[0].key == key or key in methods.find(key)[0].key
        assert record in methods.find(record.paper.authors.split()[0])
        assert record in methods.find("", question=record.question)
    assert methods.find("zeppelin") == []


def test_two_methods_of_one_name_are_refused(tmp_path, monkeypatch):
    text = (
        "from microtome.method import Paper, method\n"
        "@method(question='read', paper=Paper('a', 2000, 't', 'l'), needs=('values',), gives='Basis', stochastic=False,"
        "cost='c', claim='c', notion='n', serves='s', cannot_claim='c')\n"
        "def twin(values):\n    'Twin.'\n"
    )
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(text)
    room = __import__("microtome.read", fromlist=["read"])
    monkeypatch.setattr(room, "__path__", [*room.__path__, str(tmp_path)])
    with pytest.raises(UsageError, match=r"two methods are called 'twin'.*read\.one.*read\.two"):
        methods.all_methods(["read"])
