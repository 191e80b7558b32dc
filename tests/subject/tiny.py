"""Tiny random models of every architecture with a table, built from their configs: nothing is downloaded.

Weights are drawn in a forked random state, so the global generators are as they were.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

VOCAB, PAD = 64, 0
#: 4 heads of 8, two of them for keys and values where the architecture groups them.
SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDE: dict[str, Any] = {**SIZES, "intermediate_size": 48}
TEXT: dict[str, Any] = {**WIDE, "vocab_size": VOCAB, "pad_token_id": PAD, "max_position_embeddings": 64}
DECODER: dict[str, Any] = {**TEXT, "bos_token_id": 1, "eos_token_id": 2}
GROUPED: dict[str, Any] = {**DECODER, "num_key_value_heads": 2}
GEMMA: dict[str, Any] = {**GROUPED, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 4}
IMAGE: dict[str, Any] = {**SIZES, "image_size": 8, "patch_size": 4, "num_channels": 3}
LAYERS = ["sliding_attention", "full_attention"]


@dataclass(frozen=True)
class Case:
    """One tiny model.

    Attributes
    ----------
    name : str
    model : str
        Class of transformers (or of the compiled organisms).
    config : str
        Its config class.
    options : dict
        Arguments of the config.
    kind : str
        "decoder", "encoder" (text, both directions), "seq2seq", "audio", "image", "pair" or "state".
    table : str
        Name of the architecture table that should be found.
    """

    name: str
    model: str
    config: str
    options: dict[str, Any]
    kind: str
    table: str

    def build(self, seed: int = 0) -> nn.Module:
        """The model in eval mode, with weights large enough that nothing is nearly linear or nearly zero."""
        if self.config == "CompiledConfig":
            from microtome.organisms.compiled import model as source
        else:
            import transformers as source

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = getattr(source, self.config)(**self.options)
            module = getattr(source, self.model)(config)
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.add_(0.15 * torch.randn_like(parameter))
        return module.eval()

    def inputs(self, rows: int = 3, length: int = 7, seed: int = 1) -> dict[str, Tensor]:
        """Unpadded inputs."""
        generator = torch.Generator().manual_seed(seed)

        def ids(width: int) -> Tensor:
            return torch.randint(3, VOCAB - 1, (rows, width), generator=generator)

        def noise(*shape: int) -> Tensor:
            return torch.randn(rows, *shape, generator=generator)

        kinds: dict[str, Callable[[], dict[str, Tensor]]] = {
            "seq2seq": lambda: {"input_ids": ids(length + 2), "decoder_input_ids": ids(length)},
            "audio": lambda: {"input_features": noise(8, 20), "decoder_input_ids": ids(length)},
            "image": lambda: {"pixel_values": noise(3, 8, 8)},
            "pair": lambda: {"input_ids": ids(length), "pixel_values": noise(3, 8, 8)},
        }
        return kinds.get(self.kind, lambda: {"input_ids": ids(length)})()


def _decoder(name: str, model: str, config: str, table: str, **options: Any) -> Case:
    return Case(name, model, config, options, "decoder", table)


CLIP_TEXT: dict[str, Any] = {**DECODER, "projection_dim": 16}
CLIP_VISION: dict[str, Any] = {**IMAGE, "intermediate_size": 48, "projection_dim": 16}
T5: dict[str, Any] = {
    "vocab_size": VOCAB, "d_model": 32, "d_kv": 6, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4,
    "pad_token_id": PAD, "decoder_start_token_id": 0,
}  # fmt: skip
WHISPER: dict[str, Any] = {
    "vocab_size": VOCAB, "num_mel_bins": 8, "d_model": 32, "encoder_layers": 2, "decoder_layers": 3,
    "encoder_attention_heads": 4, "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 40,
    "max_source_positions": 10, "max_target_positions": 16, "pad_token_id": PAD, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1, "suppress_tokens": None, "begin_suppress_tokens": None,
}  # fmt: skip
OPT: dict[str, Any] = {
    **{k: v for k, v in DECODER.items() if k != "intermediate_size"}, "ffn_dim": 48, "word_embed_proj_dim": 32,
}  # fmt: skip
COMPILED: dict[str, Any] = {
    **SIZES, "vocab_size": VOCAB, "head_dim": 6, "max_position_embeddings": 64, "intermediate_size": 48,
}  # fmt: skip
CASES = (
    _decoder("gpt2", "GPT2LMHeadModel", "GPT2Config", "gpt2", vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4,
             n_positions=64, bos_token_id=1, eos_token_id=2),
    _decoder("gpt_neox", "GPTNeoXForCausalLM", "GPTNeoXConfig", "gpt_neox", **DECODER),
    _decoder("gpt_neox_sequential", "GPTNeoXForCausalLM", "GPTNeoXConfig", "gpt_neox_sequential",
             **DECODER, use_parallel_residual=False),
    _decoder("llama", "LlamaForCausalLM", "LlamaConfig", "llama", **GROUPED),
    _decoder("mistral", "MistralForCausalLM", "MistralConfig", "llama", **GROUPED, sliding_window=4),
    _decoder("qwen2", "Qwen2ForCausalLM", "Qwen2Config", "llama", **GROUPED),
    _decoder("qwen3", "Qwen3ForCausalLM", "Qwen3Config", "llama", **GROUPED, head_dim=12),
    _decoder("gemma2", "Gemma2ForCausalLM", "Gemma2Config", "gemma", **GEMMA, layer_types=LAYERS),
    _decoder("gemma3", "Gemma3ForCausalLM", "Gemma3TextConfig", "gemma", **GEMMA, layer_types=LAYERS),
    _decoder("gemma3_images", "Gemma3ForConditionalGeneration", "Gemma3Config", "gemma",
             text_config={**GEMMA, "layer_types": LAYERS}, image_token_index=VOCAB - 1, boi_token_index=VOCAB,
             eoi_token_index=VOCAB, mm_tokens_per_image=4,
             vision_config={**IMAGE, "intermediate_size": 48, "model_type": "siglip_vision_model"}),
    _decoder("phi3", "Phi3ForCausalLM", "Phi3Config", "phi3", **GROUPED),
    _decoder("olmo2", "Olmo2ForCausalLM", "Olmo2Config", "olmo2", **GROUPED),
    _decoder("opt", "OPTForCausalLM", "OPTConfig", "opt", **OPT),
    _decoder("opt_norm_after", "OPTForCausalLM", "OPTConfig", "opt_norm_after",
             **{**OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 24}),
    Case("bert", "BertForMaskedLM", "BertConfig", TEXT, "encoder", "bert"),
    Case("minilm", "BertModel", "BertConfig", TEXT, "encoder", "bert"),
    Case("roberta", "RobertaForMaskedLM", "RobertaConfig", TEXT, "encoder", "roberta"),
    Case("t5", "T5ForConditionalGeneration", "T5Config", T5, "seq2seq", "t5"),
    Case("t5_gated", "T5ForConditionalGeneration", "T5Config", {**T5, "feed_forward_proj": "gated-gelu",
         "tie_word_embeddings": False}, "seq2seq", "t5_gated"),
    Case("whisper", "WhisperForConditionalGeneration", "WhisperConfig", WHISPER, "audio", "whisper"),
    Case("vit", "ViTForImageClassification", "ViTConfig", {**IMAGE, "intermediate_size": 48}, "image", "vit"),
    Case("clip", "CLIPModel", "CLIPConfig", {"text_config": CLIP_TEXT, "vision_config": CLIP_VISION,
         "projection_dim": 16}, "pair", "clip"),
    Case("clip_text", "CLIPTextModel", "CLIPTextConfig", CLIP_TEXT, "encoder", "clip_text"),
    Case("clip_vision", "CLIPVisionModel", "CLIPVisionConfig", CLIP_VISION, "image", "clip_vision"),
    Case("dinov2", "Dinov2ForImageClassification", "Dinov2Config", {**IMAGE, "mlp_ratio": 2}, "image", "dinov2"),
    Case("dinov2_gated", "Dinov2Model", "Dinov2Config", {**IMAGE, "mlp_ratio": 2, "use_swiglu_ffn": True}, "image",
         "dinov2_gated"),
    Case("mamba", "MambaForCausalLM", "MambaConfig", {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2,
         "state_size": 4, "time_step_rank": 4}, "state", "mamba"),
    Case("compiled", "CompiledTransformer", "CompiledConfig", COMPILED, "decoder", "compiled"),
    Case("compiled_attention", "CompiledTransformer", "CompiledConfig", {**COMPILED, "intermediate_size": 0}, "decoder",
         "compiled_attention"),
)  # fmt: skip
BY_NAME = {case.name: case for case in CASES}
