"""Causal models: identities of interventions, against a recursive evaluator written apart."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.errors import UsageError
from microtome.stimuli import CausalModel

ADD = CausalModel(
    ["x", "y", "z", "p", "q", "o"],
    {name: list(range(5)) for name in "xyz"},
    {"p": ["x", "y"], "q": ["y", "z"], "o": ["p", "q"]},
    {"p": lambda x, y: x + y, "q": lambda y, z: y * z, "o": lambda p, q: p - q},
)
INPUTS = st.fixed_dictionaries({name: st.integers(0, 4) for name in "xyz"})
CHOICE = st.lists(st.sampled_from(ADD.variables), unique=True)


def slow(model, given_, name):
    """The value of one variable by recursion."""
    if name in given_:
        return given_[name]
    return model.functions[name](*(slow(model, given_, parent) for parent in model.parents[name]))


@settings(deadline=None, max_examples=80)
@given(INPUTS)
def test_run_equals_recursion(inputs):
    assert ADD.run(inputs) == {name: slow(ADD, inputs, name) for name in ADD.variables}


@settings(deadline=None, max_examples=80)
@given(INPUTS, CHOICE)
def test_interchange_with_itself_is_the_identity(inputs, chosen):
    assert ADD.interchange(inputs, inputs, chosen) == ADD.run(inputs)


@settings(deadline=None, max_examples=80)
@given(INPUTS, INPUTS, CHOICE)
def test_interchange_equals_recursion(base, source, chosen):
    held = {**base, **{name: slow(ADD, source, name) for name in chosen}}
    assert ADD.interchange(base, source, chosen) == {name: slow(ADD, held, name) for name in ADD.variables}


@settings(deadline=None, max_examples=40)
@given(INPUTS, INPUTS)
def test_interchanging_all_inputs_or_a_full_cut_gives_the_source(base, source):
    assert ADD.interchange(base, source, ["x", "y", "z"]) == ADD.run(source)
    assert ADD.interchange(base, source, ["p", "q"])["o"] == ADD.run(source)["o"]
    assert ADD.interchange(base, source, []) == ADD.run(base)


def test_interchange_leaves_what_is_not_downstream():
    after = ADD.interchange({"x": 1, "y": 2, "z": 3}, {"x": 4, "y": 0, "z": 0}, ["p"])
    assert (after["x"], after["y"], after["z"], after["q"]) == (1, 2, 3, 6)
    assert after["p"] == 4
    assert after["o"] == 4 - 6


def test_counterfactuals_are_seeded_and_labelled():
    made = ADD.counterfactuals(50, seed=4)
    assert made == ADD.counterfactuals(50, seed=4) != ADD.counterfactuals(50, seed=5)
    for base, source, variables, label in made:
        assert label == ADD.interchange(base, source, variables)
        assert set(variables) <= {"p", "q"}
    assert {v for c in made for v in c.variables} == {"p", "q"}
    assert all(c.variables == ("p", "q") for c in ADD.counterfactuals(5, variables=["p", "q"]))
    assert ADD.inputs == ["x", "y", "z"]
    assert ADD.outputs == ["o"]
    assert {s["x"] for s in ADD.sample(200)} == set(range(5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parents": {"p": ["o", "y"], "q": ["y", "z"], "o": ["p", "q"]}}, "cycle"),
        ({"parents": {"p": ["xx", "y"]}}, "no variable 'xx'"),
        ({"functions": {}}, "no function"),
        ({"values": {"x": [1], "y": [1]}}, "needs a list of values"),
    ],
)
def test_bad_models_are_refused(change, message):
    fields = {f: getattr(ADD, f) for f in ("variables", "values", "parents", "functions")}
    with pytest.raises(UsageError, match=message):
        CausalModel(**{**fields, **change})


def test_bad_inputs_are_refused():
    with pytest.raises(UsageError, match="input 'z' is missing"):
        ADD.run({"x": 1, "y": 1})
    with pytest.raises(UsageError, match="outside"):
        ADD.run({"x": 9, "y": 1, "z": 1})
    with pytest.raises(UsageError, match="no variable 'w'"):
        ADD.interchange({"x": 1, "y": 1, "z": 1}, {"x": 1, "y": 1, "z": 1}, ["w"])
