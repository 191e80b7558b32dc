"""Generated tables whose conditional distributions are known."""

from microtome.stimuli.tables.gaussian_table import GaussianTable, correlated

__all__ = ["GaussianTable", "correlated"]
