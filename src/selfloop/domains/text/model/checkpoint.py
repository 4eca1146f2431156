"""Checkpoints in the format of `transformers`: config.json, model.safetensors and the tokenizer's files.

They load with `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained`, and in vLLM.
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from selfloop.domains.checkpoint import load_weights, read_config, write_json
from selfloop.domains.text.data.tokenizer import END_OF_TEXT, END_OF_TEXT_ID
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.shape import Shape


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


def load_checkpoint(folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Transformer:
    """The model of a checkpoint, in evaluation mode.

    Raises:
        UserError: the folder is not such a checkpoint, or its tensors do not fit its config.
    """
    shape = _shape(read_config(folder, "gpt2", "llama"))
    model = Transformer(shape)
    names = [name for name, _ in model.named_parameters()]
    load_weights(model, dict(_from_hugging_face(shape, names, load_file(folder / "model.safetensors"))), folder)
    return model.to(device=device, dtype=dtype).eval()


def _config(shape: Shape) -> dict[str, Any]:
    common = {
        "vocab_size": shape.vocabulary,
        "bos_token_id": END_OF_TEXT_ID,
        "eos_token_id": END_OF_TEXT_ID,
        "dtype": "float32",
    }
    if shape.architecture == "gpt2":
        return common | {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "n_positions": shape.context,
            "n_embd": shape.hidden_size,
            "n_layer": shape.layers,
            "n_head": shape.heads,
            "n_inner": shape.intermediate_size,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "tie_word_embeddings": True,
        }
    return common | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "max_position_embeddings": shape.context,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "tie_word_embeddings": False,
    }


def _shape(config: dict[str, Any]) -> Shape:
    if config["model_type"] == "gpt2":
        keys = ["n_embd", "n_layer", "n_head", "n_inner", "n_positions", "vocab_size"]
    else:
        keys = ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"]
        keys += ["max_position_embeddings", "vocab_size"]
    return Shape(config["model_type"], *(config[key] for key in keys))


def _to_hugging_face(shape: Shape, weights: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in weights.items():
        if shape.architecture == "gpt2":
            hugging_face = _gpt2_name(name)
            # GPT-2's Conv1D stores its matrices as [in, out].
            transposed = tensor.dim() == 2 and name.startswith("blocks.")
            yield hugging_face, tensor.t() if transposed else tensor
        else:
            names = _llama_names(name)
            yield from zip(names, tensor.chunk(len(names), dim=0), strict=True)


def _from_hugging_face(shape: Shape, names: Iterable[str], stored: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name in names:
        if shape.architecture == "gpt2":
            if _gpt2_name(name) in stored:
                tensor = stored[_gpt2_name(name)]
                yield name, tensor.t() if tensor.dim() == 2 and name.startswith("blocks.") else tensor
        elif all(part in stored for part in _llama_names(name)):
            yield name, torch.cat([stored[part] for part in _llama_names(name)], dim=0)


def _gpt2_name(name: str) -> str:
    outer = {"embedding.weight": "wte.weight", "positions.weight": "wpe.weight"}
    outer |= {"norm.weight": "ln_f.weight", "norm.bias": "ln_f.bias"}
    if name in outer:
        return f"transformer.{outer[name]}"
    _, layer, module, kind = name.split(".")
    inner = {
        "attention_norm": "ln_1",
        "qkv": "attn.c_attn",
        "attention_out": "attn.c_proj",
        "feed_norm": "ln_2",
        "feed_in": "mlp.c_fc",
        "feed_out": "mlp.c_proj",
    }
    return f"transformer.h.{layer}.{inner[module]}.{kind}"


def _llama_names(name: str) -> list[str]:
    """The tensors of `transformers` that are stacked in ours."""
    outer = {"embedding.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"}
    outer |= {"head.weight": "lm_head.weight"}
    if name in outer:
        return [outer[name]]
    _, layer, module, _ = name.split(".")
    inner = {
        "attention_norm": ["input_layernorm"],
        "qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        "attention_out": ["self_attn.o_proj"],
        "feed_norm": ["post_attention_layernorm"],
        "feed_in": ["mlp.gate_proj", "mlp.up_proj"],
        "feed_out": ["mlp.down_proj"],
    }
    return [f"model.layers.{layer}.{part}.weight" for part in inner[module]]
