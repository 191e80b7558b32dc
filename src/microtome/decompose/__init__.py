"""Find coordinates: sparse autoencoders, factorisations, and the nulls they must beat."""

from microtome.decompose.assoc_memory_scaling import assoc_memory_scaling
from microtome.decompose.batch_topk_sae import BatchTopK, batch_topk_sae
from microtome.decompose.bows import bows
from microtome.decompose.circle import circle_basis
from microtome.decompose.clusters import cluster_plane
from microtome.decompose.compare import Comparison, compare
from microtome.decompose.coupled_nmf import CoupledParts, coupled_nmf
from microtome.decompose.cross_layer import CrossLayerTranscoder
from microtome.decompose.cross_layer_transcoder import cross_layer_transcoder
from microtome.decompose.crosscoder import crosscoder
from microtome.decompose.csae import csae
from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.direct_attribution import FeatureAttribution, direct_feature_attribution, head_shares
from microtome.decompose.end_to_end_sae import end_to_end_sae
from microtome.decompose.feature_emergence import feature_emergence
from microtome.decompose.fitting import Recipe
from microtome.decompose.formats.circuit_tracer import load_circuit_tracer, save_circuit_tracer
from microtome.decompose.formats.circuit_tracer_layers import load_circuit_tracer_layer, save_circuit_tracer_layer
from microtome.decompose.formats.dictionary_learning import load_dictionary_learning, save_dictionary_learning
from microtome.decompose.formats.gemma_scope import load_gemma_scope, save_gemma_scope
from microtome.decompose.formats.openai import load_openai, save_openai
from microtome.decompose.formats.saelens import load_saelens, save_saelens
from microtome.decompose.formats.sparsify import load_sparsify, save_sparsify
from microtome.decompose.functions import FunctionDictionary
from microtome.decompose.gated_sae import gated_sae
from microtome.decompose.grok_corrupted import grok_corrupted
from microtome.decompose.group_composition_reps import group_composition_reps
from microtome.decompose.ica import ica
from microtome.decompose.interaction_basis import interaction_basis
from microtome.decompose.interaction_graph import degeneracy, interaction_edges, interaction_modules
from microtome.decompose.jumprelu_sae import JumpReLU, jumprelu_sae
from microtome.decompose.kmeans import Centres, kmeans
from microtome.decompose.latent_groups import drop_latents, keep_latents, latent_groups, rebuilt
from microtome.decompose.lib import interaction_stack, lib
from microtome.decompose.lmm_sae_interp import lmm_sae_interp
from microtome.decompose.mammo_sae import mammo_sae
from microtome.decompose.many import train_many
from microtome.decompose.matryoshka_sae import matryoshka_sae
from microtome.decompose.max_margin_features import max_margin_features
from microtome.decompose.mona_selection import mona_selection
from microtome.decompose.mp_sae import mp_sae
from microtome.decompose.multi_dim_features import multi_dim_features
from microtome.decompose.neurons_to_neutrons import neurons_to_neutrons
from microtome.decompose.nmf import NonNegativeParts, nmf
from microtome.decompose.onion_representations import onion_representations
from microtome.decompose.p_annealed_sae import p_annealed_sae
from microtome.decompose.pca import pca
from microtome.decompose.pursuit import PursuitDictionary
from microtome.decompose.random_basis import random_basis
from microtome.decompose.random_dictionary import random_dictionary
from microtome.decompose.recovered import Recovered
from microtome.decompose.relu_sae import ReLU, relu_sae
from microtome.decompose.relu_transcoder import relu_transcoder
from microtome.decompose.representation_bias import representation_bias
from microtome.decompose.sae_neural_operator import convolutional_sae, sae_neural_operator
from microtome.decompose.semi_nmf import semi_nmf
from microtome.decompose.skip_transcoder import skip_transcoder
from microtome.decompose.snmf import snmf
from microtome.decompose.sources import Live
from microtome.decompose.steering_audit import steering_audit
from microtome.decompose.task_nonlinearity_geometry import task_nonlinearity_geometry
from microtome.decompose.tied_sae import tied_sae
from microtome.decompose.topk_sae import TopK, topk_sae
from microtome.decompose.toy_superposition import toy_superposition
from microtome.decompose.transcoder import transcoder
from microtome.decompose.transcoding import Crosscoder, Transcoder

__all__ = [
    "BatchTopK",
    "Centres",
    "Comparison",
    "CoupledParts",
    "CrossLayerTranscoder",
    "Crosscoder",
    "FeatureAttribution",
    "FunctionDictionary",
    "JumpReLU",
    "Live",
    "NonNegativeParts",
    "PursuitDictionary",
    "ReLU",
    "Recipe",
    "Recovered",
    "SparseDictionary",
    "TopK",
    "Transcoder",
    "assoc_memory_scaling",
    "batch_topk_sae",
    "bows",
    "circle_basis",
    "cluster_plane",
    "compare",
    "convolutional_sae",
    "coupled_nmf",
    "cross_layer_transcoder",
    "crosscoder",
    "csae",
    "degeneracy",
    "direct_feature_attribution",
    "drop_latents",
    "end_to_end_sae",
    "feature_emergence",
    "gated_sae",
    "grok_corrupted",
    "group_composition_reps",
    "head_shares",
    "ica",
    "interaction_basis",
    "interaction_edges",
    "interaction_modules",
    "interaction_stack",
    "jumprelu_sae",
    "keep_latents",
    "kmeans",
    "latent_groups",
    "lib",
    "lmm_sae_interp",
    "load_circuit_tracer",
    "load_circuit_tracer_layer",
    "load_dictionary_learning",
    "load_gemma_scope",
    "load_openai",
    "load_saelens",
    "load_sparsify",
    "mammo_sae",
    "matryoshka_sae",
    "max_margin_features",
    "mona_selection",
    "mp_sae",
    "multi_dim_features",
    "neurons_to_neutrons",
    "nmf",
    "onion_representations",
    "p_annealed_sae",
    "pca",
    "random_basis",
    "random_dictionary",
    "rebuilt",
    "relu_sae",
    "relu_transcoder",
    "representation_bias",
    "sae_neural_operator",
    "save_circuit_tracer",
    "save_circuit_tracer_layer",
    "save_dictionary_learning",
    "save_gemma_scope",
    "save_openai",
    "save_saelens",
    "save_sparsify",
    "semi_nmf",
    "skip_transcoder",
    "snmf",
    "steering_audit",
    "task_nonlinearity_geometry",
    "tied_sae",
    "topk_sae",
    "toy_superposition",
    "train_many",
    "transcoder",
]
