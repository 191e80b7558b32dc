"""Mazes as tokens, against networkx and by hand."""

import networkx as nx
import numpy as np
import pytest
import torch

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.algorithmic.mazes import connected, lattice, maze_tokens


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (2, 3), (3, 3), (4, 2)])
def test_the_lattice_equals_that_of_networkx(rows, columns):
    grid = nx.grid_2d_graph(rows, columns)
    number = {cell: cell[0] * columns + cell[1] for cell in grid}
    assert set(lattice(rows, columns)) == {tuple(sorted((number[a], number[b]))) for a, b in grid.edges}


def test_connected_agrees_with_networkx():
    edges, stream = lattice(3, 3), np.random.default_rng(0)
    present = stream.random((20, len(edges))) < 0.5
    found = connected(present, edges, 9)
    for row, reach in zip(present, found):
        graph = nx.Graph()
        graph.add_nodes_from(range(9))
        graph.add_edges_from([e for e, yes in zip(edges, row) if yes])
        assert [[nx.has_path(graph, a, b) for b in range(9)] for a in range(9)] == reach.tolist()


def test_tokens_hold_the_connections_and_the_question():
    edges, stream = lattice(2, 3), rng(0, "test")
    present = np.random.default_rng(1).random((30, len(edges))) < 0.4
    asked = np.tile([0, 5], (30, 1))
    ids = maze_tokens(present, edges, asked, 7, stream)
    assert ids.shape == (30, 24)
    assert (ids[:, 2:21:3] == 7).all()
    assert ids[:, -3:].unique(dim=0).tolist() == [[0, 5, 8]]
    for row, tokens in zip(present, ids.tolist()):
        told = [tuple(sorted(tokens[i : i + 2])) for i in range(0, 21, 3) if tokens[i] != 6]
        assert sorted(told) == [e for e, yes in zip(edges, row) if yes]
        assert tokens.count(6) == 2 * (7 - len(told))
    assert len({tuple(r) for r in ids[:, :21].tolist()}) > 25  # slots and directions are drawn


def test_bad_mazes_are_refused():
    with pytest.raises(UsageError, match="two cells"):
        lattice(1, 1)
    with pytest.raises(UsageError, match="slots"):
        maze_tokens(np.ones((1, 4), bool), lattice(2, 2), np.zeros((1, 2), int), 3, rng(0, "test"))
    assert torch.is_tensor(maze_tokens(np.ones((1, 4), bool), lattice(2, 2), np.zeros((1, 2), int), 4, rng(0, "test")))
