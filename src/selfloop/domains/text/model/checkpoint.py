"""Checkpoints in the format of `transformers`: config.json, model.safetensors and the tokenizer's files.

They load with `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained`, and in vLLM.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from selfloop.domains.checkpoint import load_weights, read_config, write_json
from selfloop.domains.text.data.tokenizer import END_OF_TEXT, END_OF_TEXT_ID
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.pretrained import KEY, Pretrained, is_pretrained, load_pretrained
from selfloop.domains.text.model.shape import Shape

# Names in config.json of the sizes of `Shape`, in their order, and constants.
SIZES = {
    "gpt2": ["n_embd", "n_layer", "n_head", "n_inner", "n_positions"],
    "llama": [
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
    ],
}
CONSTANTS: dict[str, dict[str, object]] = {
    "gpt2": {
        "architectures": ["GPT2LMHeadModel"],
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "tie_word_embeddings": True,
    },
    "llama": {
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "tie_word_embeddings": False,
    },
}
# Our modules and those of `transformers` whose matrices are stacked in ours; of blocks, below the last entry.
MODULES = {
    "gpt2": {
        "embedding": "transformer.wte",
        "positions": "transformer.wpe",
        "norm": "transformer.ln_f",
        "attention_norm": "ln_1",
        "qkv": "attn.c_attn",
        "attention_out": "attn.c_proj",
        "feed_norm": "ln_2",
        "feed_in": "mlp.c_fc",
        "feed_out": "mlp.c_proj",
        "blocks": "transformer.h",
    },
    "llama": {
        "embedding": "model.embed_tokens",
        "norm": "model.norm",
        "head": "lm_head",
        "attention_norm": "input_layernorm",
        "qkv": "self_attn.q_proj self_attn.k_proj self_attn.v_proj",
        "attention_out": "self_attn.o_proj",
        "feed_norm": "post_attention_layernorm",
        "feed_in": "mlp.gate_proj mlp.up_proj",
        "feed_out": "mlp.down_proj",
        "blocks": "model.layers",
    },
}


def save_checkpoint(model: Transformer, weights: dict[str, Tensor], tokenizer: Path, folder: Path) -> None:
    """Write a checkpoint.

    Args:
        model: gives the shape.
        weights: float32 tensors, named as in `model.named_parameters()`.
        tokenizer: the model's tokenizer.json.
        folder: existing.
    """
    tensors = {name: tensor.contiguous() for name, tensor in _to_hugging_face(model.shape, weights)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", _config(model.shape))
    write_json(folder / "generation_config.json", {"bos_token_id": END_OF_TEXT_ID, "eos_token_id": END_OF_TEXT_ID})
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    special = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "unk_token": END_OF_TEXT}
    tokenizer_class = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": model.shape.context}
    write_json(folder / "tokenizer_config.json", {**tokenizer_class, **special, "clean_up_tokenization_spaces": False})
    write_json(folder / "special_tokens_map.json", special)


def load_model(folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Transformer | Pretrained:
    """The model of a checkpoint that was written here, our own or of `transformers`, in evaluation mode.

    Raises:
        UserError: the folder is not such a checkpoint, or its tensors do not fit its config.
    """
    load = load_pretrained if is_pretrained(folder) else load_checkpoint
    return load(folder, dtype, device)


def context_of(folder: Path) -> int:
    """Longest sequence in tokens of a checkpoint's model, from its config.json."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    context: int = config[KEY]["context"] if KEY in config else _shape(config).context
    return context


def load_checkpoint(folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Transformer:
    """The model of a checkpoint, in evaluation mode.

    Raises:
        UserError: the folder is not such a checkpoint, or its tensors do not fit its config.
    """
    shape = _shape(read_config(folder, "gpt2", "llama"))
    model = Transformer(shape)
    load_weights(model, dict(_from_hugging_face(model, load_file(folder / "model.safetensors"))), folder)
    return model.to(device=device, dtype=dtype).eval()


def _config(shape: Shape) -> dict[str, object]:
    architecture, *values = astuple(shape)
    sizes = dict(zip([*SIZES[architecture], "vocab_size"], values, strict=True))
    if architecture == "llama":
        sizes["num_key_value_heads"] = shape.heads
    ids = {"bos_token_id": END_OF_TEXT_ID, "eos_token_id": END_OF_TEXT_ID}
    return {"model_type": architecture, "dtype": "float32", **ids, **sizes, **CONSTANTS[architecture]}


def _shape(config: Mapping[str, Any]) -> Shape:
    return Shape(config["model_type"], *(config[key] for key in [*SIZES[config["model_type"]], "vocab_size"]))


def _names(shape: Shape, name: str) -> list[str]:
    """The tensors of `transformers` that are stacked in one of ours."""
    table = MODULES[shape.architecture]
    module, kind = name.rsplit(".", 1)
    if module in table:
        return [f"{table[module]}.{kind}"]
    _, layer, module = module.split(".")
    return [f"{table['blocks']}.{layer}.{part}.{kind}" for part in table[module].split()]


def _transposed(shape: Shape, name: str, tensor: Tensor) -> Tensor:
    """The same for matrices of GPT-2's blocks: Conv1D stores them as [in, out]."""
    return tensor.t() if shape.architecture == "gpt2" and tensor.dim() == 2 and name.startswith("blocks.") else tensor


def _to_hugging_face(shape: Shape, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in weights.items():
        names = _names(shape, name)
        yield from zip(names, _transposed(shape, name, tensor).chunk(len(names), dim=0), strict=True)


def _from_hugging_face(model: Transformer, stored: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, _ in model.named_parameters():
        names = _names(model.shape, name)
        if all(part in stored for part in names):
            yield name, _transposed(model.shape, name, torch.cat([stored[part] for part in names], dim=0))
