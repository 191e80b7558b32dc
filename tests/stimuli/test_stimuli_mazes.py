"""Mazes as tokens, against networkx and by hand."""

import networkx as nx
import numpy as np
import pytest

from microtome.errors import ShapeError, UsageError
from microtome.rng import rng
from microtome.stimuli.algorithmic.mazes import distances, lattice, maze_tokens


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (2, 3), (3, 3), (4, 2)])
def test_the_lattice_equals_that_of_networkx(rows, columns):
    grid = nx.grid_2d_graph(rows, columns)
    number = {cell: cell[0] * columns + cell[1] for cell in grid}
    assert set(lattice(rows, columns)) == {tuple(sorted((number[a], number[b]))) for a, b in grid.edges}


def test_distances_agree_with_networkx():
    edges, stream = lattice(3, 3), np.random.default_rng(0)
    present = stream.random((20, len(edges))) < 0.5
    found = distances(present, edges, 9)
    for row, far in zip(present, found):
        graph = nx.Graph()
        graph.add_nodes_from(range(9))
        graph.add_edges_from([e for e, yes in zip(edges, row) if yes])
        known = dict(nx.all_pairs_shortest_path_length(graph))
        assert [[known[a].get(b, np.inf) for b in range(9)] for a in range(9)] == far.tolist()


def test_tokens_hold_the_connections_and_the_question():
    edges, stream = lattice(2, 3), rng(0, "test")
    present = np.random.default_rng(1).random((30, len(edges))) < 0.4
    ids = maze_tokens(present, edges, np.tile([0, 5], (30, 1)), 7, stream)
    assert ids.shape == (30, 24)
    assert ids[:, -3:].unique(dim=0).tolist() == [[0, 5, 8]]
    for row, tokens in zip(present, ids[:, :21].reshape(30, 7, 3).tolist()):
        assert {mark for _, _, mark in tokens} <= {6, 7}
        assert all(0 <= a != b <= 5 for a, b, _ in tokens)
        assert sorted(tuple(sorted((a, b))) for a, b, mark in tokens if mark == 6) == [e for e, yes in zip(edges, row) if yes]
    assert len({tuple(r) for r in ids[:, :21].tolist()}) == 30  # slots, directions and fillers are drawn


def test_slots_and_directions_are_fair():
    """One connection: every slot a third of the time, either cell first half of it."""
    ids = maze_tokens(np.ones((3000, 1), bool), [(0, 1)], np.zeros((3000, 2), int), 3, rng(0, "test")).reshape(3000, 4, 3)
    told = ids[:, :3, 2] == 2
    assert told.sum(1).eq(1).all()
    assert told.double().mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.04)
    assert float((ids[:, :3][told][:, 0] == 0).double().mean()) == pytest.approx(0.5, abs=0.04)


def test_bad_mazes_are_refused():
    question = np.zeros((1, 2), int)
    with pytest.raises(UsageError, match="two cells"):
        lattice(1, 1)
    with pytest.raises(UsageError, match="slots"):
        maze_tokens(np.ones((1, 4), bool), lattice(2, 2), question, 3, rng(0, "test"))
    with pytest.raises(ShapeError, match="4"):
        maze_tokens(np.ones((1, 3), bool), lattice(2, 2), question, 4, rng(0, "test"))
