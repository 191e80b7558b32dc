"""Mazes as tokens, against networkx and by hand."""

import networkx as nx
import numpy as np
import pytest
import torch

from microtome.errors import ShapeError, UsageError
from microtome.rng import rng
from microtome.stimuli.algorithmic.mazes import distances, lattice, maze_tokens, next_cells, switched_connections


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


def test_next_cells_start_every_shortest_path_of_networkx():
    edges, stream = lattice(2, 3), np.random.default_rng(2)
    present, target = stream.random((60, len(edges))) < 0.5, stream.choice([0, 2, 3, 4, 5], 60)
    found, only = next_cells(present, edges, 6, 1, target)
    assert 0 < only.sum() < 60
    for row, goal, cell, clear in zip(present, target, found, only):
        graph = nx.Graph([e for e, yes in zip(edges, row) if yes])
        graph.add_nodes_from(range(6))
        ways = list(nx.all_shortest_paths(graph, 1, goal)) if nx.has_path(graph, 1, goal) else []
        firsts = {way[1] for way in ways} or {-1}
        assert cell in firsts
        assert clear == (len(firsts) == 1)


def test_a_connection_is_switched_on_and_off():
    edges, stream = lattice(2, 3), rng(0, "test")
    present = np.tile([True, False, True, False, False, False, True], (20, 1))
    ids = maze_tokens(present, edges, np.tile([0, 5], (20, 1)), 6, stream)

    def listed(row):
        return sorted(tuple(sorted(p[:2])) for p in row[:18].reshape(6, 3).tolist() if p[2] == 6)

    for k, on in ((1, True), (2, False)):
        new, place = switched_connections(ids, torch.tensor([edges[k]] * 20), on=on)
        after = present[0].copy()
        after[k] = on
        assert all(listed(row) == sorted(e for e, yes in zip(edges, after) if yes) for row in new)
        assert (new[torch.arange(20), place] == (6 if on else 7)).all()
        assert ((new != ids).sum(1) <= (3 if on else 1)).all()
    with pytest.raises(UsageError, match="not the connection"):
        switched_connections(ids, torch.tensor([edges[1]] * 20), on=False)
    with pytest.raises(UsageError, match="free slot"):
        switched_connections(maze_tokens(present, edges, np.tile([0, 5], (20, 1)), 3, stream), torch.zeros(20, 2), on=True)


def test_bad_mazes_are_refused():
    question = np.zeros((1, 2), int)
    with pytest.raises(UsageError, match="two cells"):
        lattice(1, 1)
    with pytest.raises(UsageError, match="slots"):
        maze_tokens(np.ones((1, 4), bool), lattice(2, 2), question, 3, rng(0, "test"))
    with pytest.raises(ShapeError, match="4"):
        maze_tokens(np.ones((1, 3), bool), lattice(2, 2), question, 4, rng(0, "test"))
