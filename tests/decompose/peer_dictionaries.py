"""Dictionaries written and read by SAELens and dictionary_learning; run it with the Python of benchmarks/peers-sae.txt.

``python tests/decompose/peer_dictionaries.py write FOLDER`` saves one small dictionary of each kind in a folder of its own,
with the inputs, codes and reconstructions that the library gives in ``expected.npz``. The files in
``references/dictionaries`` were made so, with sae-lens 6.54.12 and dictionary-learning 0.1.0. ``read FOLDER`` loads what
stands in the folders of FOLDER and writes ``peer.npz`` beside each, for the inputs in its ``inputs.npy``.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

WIDTH, LATENTS, OUT, ROWS, K = 6, 16, 5, 9, 3
SITE = "blocks.1.hook_resid_post"
METADATA = {"model_name": "toy", "hook_name": SITE, "prepend_bos": True, "context_size": 8}


def main() -> None:
    """The two commands."""
    folder = Path(sys.argv[2])
    if sys.argv[1] == "write":
        write_saelens(folder)
        write_dictionary_learning(folder)
    else:
        for place in sorted(p for p in folder.iterdir() if p.is_dir()):
            x = torch.from_numpy(np.load(place / "inputs.npy"))
            model = read(place)
            with torch.no_grad():
                codes, output = run(model, x)
            np.savez(place / "peer.npz", codes=codes.numpy(), output=output.numpy())


def run(model, x):
    """Codes and output; a transcoder with a skip connection adds it."""
    codes = model.encode(x)
    output = model(x) if getattr(getattr(model, "cfg", None), "architecture", str)().endswith("skip_transcoder") else None
    return codes, model.decode(codes) if output is None else output


def read(place):
    """What the libraries' own readers make of a folder."""
    if (place / "cfg.json").exists():
        from sae_lens import SAE

        return SAE.load_from_disk(str(place), device="cpu")
    import dictionary_learning.dictionary as plain
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    kind = json.loads((place / "config.json").read_text())["trainer"]["dict_class"]
    file = str(place / "ae.pt")
    if kind == "AutoEncoder":
        return plain.AutoEncoder.from_pretrained(file, normalize_decoder=False)
    known = {"AutoEncoderTopK": AutoEncoderTopK, "BatchTopKSAE": BatchTopKSAE, "JumpReluAutoEncoder": plain.JumpReluAutoEncoder}
    return known[kind].from_pretrained(file)


def filled(model, seed, scale=0.6):
    """Random weights; thresholds and sizes positive. Whole numbers (k, group sizes) stay."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                drawn = scale * torch.randn(value.shape, generator=g)
                value.copy_(drawn.abs() if "threshold" in name else drawn)
    return model


def expected(place, model, seed):
    """Inputs, codes and outputs beside the saved dictionary."""
    x = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(100 + seed))
    with torch.no_grad():
        codes, output = run(model, x)
    np.savez_compressed(place / "expected.npz", x=x.numpy(), codes=codes.numpy(), output=output.numpy())


def write_saelens(folder):
    """Every architecture that SAELens saves for inference, and those that it makes of its training variants."""
    from sae_lens import SAE, saes

    common = {
        "d_in": WIDTH,
        "d_sae": LATENTS,
        "dtype": "float32",
        "device": "cpu",
        "metadata": saes.sae.SAEMetadata(**METADATA),
    }
    plain = {
        "standard": saes.StandardSAEConfig(**common),
        "standard-uncentred": saes.StandardSAEConfig(**common, apply_b_dec_to_input=False),
        "gated": saes.GatedSAEConfig(**common),
        "jumprelu": saes.JumpReLUSAEConfig(**common, apply_b_dec_to_input=False),
        "topk": saes.TopKSAEConfig(**common, k=K, rescale_acts_by_decoder_norm=False),
        "topk-rescaled": saes.TopKSAEConfig(**common, k=K, rescale_acts_by_decoder_norm=True),
        "transcoder": saes.TranscoderConfig(**common, d_out=OUT, apply_b_dec_to_input=False),
        "skip_transcoder": saes.SkipTranscoderConfig(**common, d_out=OUT, apply_b_dec_to_input=False),
        "jumprelu_transcoder": saes.JumpReLUTranscoderConfig(**common, d_out=OUT, apply_b_dec_to_input=False),
    }
    for seed, (name, config) in enumerate(plain.items()):
        model = filled(SAE.get_sae_class_for_architecture(config.architecture())(config), seed)
        model.save_model(folder / f"saelens-{name}")
        expected(folder / f"saelens-{name}", model, seed)
    trained = {
        "batchtopk": (saes.BatchTopKTrainingSAE, saes.BatchTopKTrainingSAEConfig(**common, k=K)),
        "matryoshka": (
            saes.MatryoshkaBatchTopKTrainingSAE,
            saes.MatryoshkaBatchTopKTrainingSAEConfig(**common, k=K, matryoshka_widths=[4, 8, LATENTS]),
        ),
    }
    for seed, (name, (kind, config)) in enumerate(trained.items(), 20):
        filled(kind(config), seed).save_inference_model(str(folder / f"saelens-{name}"))
        expected(folder / f"saelens-{name}", SAE.load_from_disk(str(folder / f"saelens-{name}"), device="cpu"), seed)


def write_dictionary_learning(folder):
    """Every class that its trainers give."""
    from dictionary_learning.dictionary import AutoEncoder, GatedAutoEncoder, JumpReluAutoEncoder
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    made = [
        AutoEncoder(WIDTH, LATENTS), GatedAutoEncoder(WIDTH, LATENTS), JumpReluAutoEncoder(WIDTH, LATENTS),
        AutoEncoderTopK(WIDTH, LATENTS, K), BatchTopKSAE(WIDTH, LATENTS, K),
        MatryoshkaBatchTopKSAE(WIDTH, LATENTS, K, [4, 4, LATENTS - 8]),
    ]  # fmt: skip
    for seed, model in enumerate(made, 40):
        name = type(model).__name__
        place = folder / f"learning-{name}"
        place.mkdir(parents=True, exist_ok=True)
        filled(model, seed)
        torch.save(model.state_dict(), place / "ae.pt")
        about = {
            "dict_class": name,
            "activation_dim": WIDTH,
            "dict_size": LATENTS,
            "lm_name": "toy",
            "submodule_name": "layer1",
        }
        (place / "config.json").write_text(json.dumps({"trainer": about | {"k": K, "layer": 1}, "buffer": {"ctx_len": 8}}))
        expected(place, model, seed)


if __name__ == "__main__":
    main()
