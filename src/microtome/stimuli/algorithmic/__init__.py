"""Generated worlds without pixels or prose: arithmetic, memory, hidden states, sparse features, closed vocabularies."""

from microtome.stimuli.algorithmic.bags import bags, placed_features
from microtome.stimuli.algorithmic.bits import parity
from microtome.stimuli.algorithmic.brackets import brackets
from microtome.stimuli.algorithmic.capitals import recall
from microtome.stimuli.algorithmic.conditions import bit_strings, conditions
from microtome.stimuli.algorithmic.flipflop import flip_flop
from microtome.stimuli.algorithmic.hmm import HiddenMarkov, emissions, mess3
from microtome.stimuli.algorithmic.indirect import indirect_object
from microtome.stimuli.algorithmic.letters import repeats
from microtome.stimuli.algorithmic.mazes import distances, lattice, maze_tokens, next_cells, switched_connections
from microtome.stimuli.algorithmic.modular import modular_addition
from microtome.stimuli.algorithmic.sparse import dictionary, mixed, sparse_features
from microtome.stimuli.algorithmic.tables import gaussian

__all__ = [
    "HiddenMarkov",
    "bags",
    "bit_strings",
    "brackets",
    "conditions",
    "dictionary",
    "distances",
    "emissions",
    "flip_flop",
    "gaussian",
    "indirect_object",
    "lattice",
    "maze_tokens",
    "mess3",
    "mixed",
    "modular_addition",
    "next_cells",
    "parity",
    "placed_features",
    "recall",
    "repeats",
    "sparse_features",
    "switched_connections",
]
