"""Dictionaries written and read by sparsify, circuit-tracer and SAELens' readers of Gemma Scope.

``python tests/decompose/peer_transcoders.py write FOLDER`` with the Python of benchmarks/peers-circuits.txt saves one small
dictionary of each kind in a folder of its own, with the inputs, codes and outputs that the library gives in ``expected.npz``
(layers side by side for a cross-layer transcoder). ``read FOLDER`` loads what stands in the folders of FOLDER and writes
``peer.npz`` beside each, for the inputs in its ``inputs.npy``; folders of Gemma Scope (``scope-*``) are read with the Python of
benchmarks/peers-sae.txt. A folder's name says its kind. The files in ``references/transcoders`` were made with eai-sparsify
1.3.3, circuit-tracer 0.5.0 and, their expected figures only, sae-lens 6.54.12; those of OpenAI with the published source.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from peer_dictionaries import filled

WIDTH, LATENTS, LAYERS, ROWS, K = 6, 16, 3, 9, 3


def main() -> None:
    """The two commands."""
    folder = Path(sys.argv[2])
    if sys.argv[1] == "write":
        write_sparsify(folder)
        write_tracer(folder)
        return
    for place in sorted(p for p in folder.iterdir() if (p / "inputs.npy").exists()):
        codes, output = read(place)(torch.from_numpy(np.load(place / "inputs.npy")))
        np.savez_compressed(place / "peer.npz", codes=codes.numpy(), output=output.numpy())


def read(place):
    """What the library that the folder's name says makes of it: inputs -> codes, output."""
    kind = place.name.split("-")[0]
    if kind == "sparsify":
        from sparsify import SparseCoder

        return sparsify(SparseCoder.load_from_disk(place / "layers.1.mlp"))
    if kind == "scope":
        return scope(place)
    import yaml
    from circuit_tracer.transcoder.activation_functions import TopK
    from circuit_tracer.transcoder.cross_layer_transcoder import load_clt
    from circuit_tracer.transcoder.single_layer_transcoder import load_transcoder_set

    config = yaml.safe_load((place / "config.yaml").read_text())
    hooks = {name: config[name] for name in ("feature_input_hook", "feature_output_hook")}
    cpu = {"device": torch.device("cpu"), "dtype": torch.float32}
    if config["model_kind"] == "cross_layer_transcoder":
        return across(load_clt(str(place), **hooks, **cpu, lazy_decoder=False))
    paths = {i: str(place / f"layer_{i}.safetensors") for i in range(len(list(place.glob("layer_*.safetensors"))))}
    whole = load_transcoder_set(paths, "toy", **hooks, **cpu, lazy_encoder=False, lazy_decoder=False)
    if config.get("activation") == "topk":  # which 0.5.0 does not look for yet
        for one in whole:
            one.activation_function = TopK(config["k"])
    return layered(whole)


@torch.no_grad()
def scope(place):
    """SAELens' own readers of Gemma Scope, with the file that stands there in place of a download."""
    from sae_lens import SAE
    from sae_lens.loading import pretrained_sae_loaders as loaders

    file = next(place.glob("params.*"))
    loaders.hf_hub_download = lambda *a, **k: str(place / "config.json" if "config.json" in str(a) else file)
    shapes = {name: list(value.shape) for name, value in arrays(file).items()}
    loaders.get_safetensors_tensor_shapes = lambda *a, **k: shapes
    about = {"d_in": WIDTH, "d_sae": LATENTS, "dtype": "float32"}
    second, out = file.suffix == ".safetensors", "transcoder" in place.name
    about |= {"d_out": WIDTH} if out else {}
    load = loaders.gemma_2_transcoder_huggingface_loader if out else loaders.gemma_2_sae_huggingface_loader
    load = loaders.gemma_3_sae_huggingface_loader if second else load
    repository = "google/gemma-scope-2-1b-pt" if second else "google/gemma-scope-2b-pt-res"
    inner = f"{'transcoder' if out else 'resid_post'}/layer_1_width_16k_l0_small{'_affine' if out else ''}"
    config, state, _ = load(repository, inner if second else "layer_1/width_16k/average_l0_3", "cpu", cfg_overrides=about)
    config = loaders.handle_config_defaulting(config)
    made = SAE.get_sae_config_class_for_architecture(config["architecture"]).from_dict(config)
    model = SAE.get_sae_class_for_architecture(made.architecture())(made)
    model.process_state_dict_for_loading(state)
    model.load_state_dict(state)

    def run(x):
        codes = model.encode(x)
        with torch.no_grad():
            return codes.detach(), model(x).detach()

    return run


def arrays(file):
    """Tensors of an npz or safetensors file."""
    from safetensors.numpy import load_file

    return load_file(file) if file.suffix == ".safetensors" else dict(np.load(file))


def sparsify(coder):
    """Codes made dense, and the output."""

    @torch.no_grad()
    def run(x):
        found = coder.encode(x)
        codes = torch.zeros(len(x), coder.num_latents).scatter(1, found.top_indices.long(), found.top_acts)
        return codes, coder(x).sae_out

    return run


def across(clt):
    """A cross-layer transcoder on rows whose layers stand side by side."""

    @torch.no_grad()
    def run(x):
        layers = x.unflatten(1, (clt.n_layers, -1)).transpose(0, 1)
        codes = clt.encode(layers)
        return codes.transpose(0, 1).flatten(1), clt.decode(codes, layers).transpose(0, 1).flatten(1)

    return run


def layered(transcoders):
    """A set of transcoders, each on its own layer of the same form."""

    @torch.no_grad()
    def run(x):
        layers = x.unflatten(1, (len(transcoders), -1)).transpose(0, 1)
        codes = transcoders.encode(layers)
        return codes.transpose(0, 1).flatten(1), transcoders.decode(codes, layers).transpose(0, 1).flatten(1)

    return run


def expected(place, run, seed, width=WIDTH):
    """Inputs, codes and outputs beside the saved dictionary."""
    x = torch.randn(ROWS, width, generator=torch.Generator().manual_seed(100 + seed))
    codes, output = run(x)
    np.savez_compressed(place / "expected.npz", x=x.numpy(), codes=codes.numpy(), output=output.numpy())


def write_sparsify(folder):
    """An autoencoder, a transcoder and one with a skip connection, each in a folder named by its hook point."""
    from sparsify import SparseCoder, SparseCoderConfig

    kinds = {"sae": {}, "transcoder": {"transcode": True}, "skip": {"transcode": True, "skip_connection": True}}
    for seed, (name, about) in enumerate(kinds.items()):
        coder = filled(SparseCoder(WIDTH, SparseCoderConfig(num_latents=LATENTS, k=K, **about)), seed)
        place = folder / f"sparsify-{name}"
        coder.save_to_disk(place / "layers.1.mlp")
        expected(place, sparsify(coder), seed)


def write_tracer(folder):
    """Cross-layer transcoders and sets of single layers, with each activation."""
    from circuit_tracer.transcoder.activation_functions import JumpReLU, TopK
    from circuit_tracer.transcoder.cross_layer_transcoder import CrossLayerTranscoder
    from circuit_tracer.transcoder.single_layer_transcoder import SingleLayerTranscoder, TranscoderSet

    cpu = {"device": torch.device("cpu"), "dtype": torch.float32}
    hooks = {"feature_input_hook": "hook_resid_mid", "feature_output_hook": "hook_mlp_out"}
    for seed, kind in enumerate(("relu", "jump_relu"), 10):
        clt = filled(CrossLayerTranscoder(LAYERS, LATENTS, WIDTH, kind, lazy_decoder=False, **hooks, **cpu), seed)
        place = folder / f"tracer-clt-{kind}"
        clt.to_safetensors(str(place))
        describe(place, "cross_layer_transcoder", hooks)
        expected(place, across(clt), seed, LAYERS * WIDTH)
    gates = {"relu": torch.relu, "topk": TopK(K), "jump_relu": None, "skip": torch.relu}
    for seed, (kind, gate) in enumerate(gates.items(), 20):
        skip = {"skip_connection": kind == "skip"}
        made = {i: SingleLayerTranscoder(WIDTH, LATENTS, gate or JumpReLU(torch.zeros(LATENTS)), i, **skip, **cpu)
                for i in range(LAYERS)}  # fmt: skip
        whole = filled(TranscoderSet(made, **hooks), seed)
        place = folder / f"tracer-set-{kind}"
        whole.to_safetensors(str(place))
        describe(place, "transcoder_set", hooks | ({"activation": "topk", "k": K} if kind == "topk" else {}))
        expected(place, layered(whole), seed, LAYERS * WIDTH)


def describe(place, kind, about):
    """The configuration as those of published transcoders are."""
    lines = {"model_name": json.dumps("toy"), "model_kind": kind} | about
    (place / "config.yaml").write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))


if __name__ == "__main__":
    main()
