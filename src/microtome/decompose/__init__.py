"""Find coordinates: sparse autoencoders, factorisations, and the nulls they must beat."""

from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formats.saelens import load_saelens, save_saelens
from microtome.decompose.ica import ica
from microtome.decompose.nmf import nmf
from microtome.decompose.pca import pca
from microtome.decompose.random_basis import random_basis
from microtome.decompose.random_dictionary import random_dictionary
from microtome.decompose.relu_sae import relu_sae
from microtome.decompose.tied_sae import tied_sae
from microtome.decompose.topk_sae import topk_sae

__all__ = [
    "SparseDictionary",
    "ica",
    "load_saelens",
    "nmf",
    "pca",
    "random_basis",
    "random_dictionary",
    "relu_sae",
    "save_saelens",
    "tied_sae",
    "topk_sae",
]
