"""What is wrong with settings of the text domain beyond single keys, told while a study is planned."""

import importlib.util
import json
import os
from collections.abc import Sequence
from math import isqrt
from pathlib import Path

from selfloop.domains.text.config import Data, Model, Origin, Sampling, Training
from selfloop.domains.text.sampling.vllm_python import find_vllm
from selfloop.errors import UserError
from selfloop.inputs.files import unreadable

VLLM_LOWEST = 0.01  # the lowest temperature but 0 that vLLM takes as it is


def allowed_heads(model: Model) -> list[int]:
    """Numbers of attention heads that divide the hidden size; with rotary embeddings, into heads of even size."""
    hidden: int = model.hidden_size
    step = 2 if model.architecture == "llama" else 1
    low = [heads for heads in range(1, isqrt(hidden) + 1) if hidden % heads == 0]
    return [heads for heads in sorted({*low, *(hidden // heads for heads in low)}) if hidden // heads % step == 0]


def of_vllm(sampling: Sampling) -> list[str]:
    """What vLLM does not do, and whether it is there at all."""
    found = []
    if 0 < sampling.temperature < VLLM_LOWEST:
        found.append(
            f"temperature: {sampling.temperature:g} would be taken as {VLLM_LOWEST} by vLLM. "
            f"Allowed with engine: vllm are 0 and at least {VLLM_LOWEST}."
        )
    if sampling.beams > 1:
        found.append("beams: vLLM has none for text. Allowed with engine: vllm is 1.")
    if sampling.typical_p is not None:
        found.append("typical_p: vLLM has none. Allowed with engine: vllm is null.")
    if sampling.min_p is not None and sampling.top_p is not None:
        found.append("min_p: vLLM applies it before top_p, other engines after it. Give one of the two.")
    try:
        find_vllm()
    except UserError as error:
        found.append(f"engine: {error}")
    return found


def checkpoint_name(model: Model) -> str:
    """The last word of a checkpoint's id or path, or the name of the experiment that trains it."""
    if isinstance(model.checkpoint, Origin):
        return model.checkpoint.experiment
    return str(model.checkpoint).rstrip("/").rsplit("/", 1)[-1]


def of_checkpoint(model: Model, training: Training) -> list[str]:
    """What is wrong with a model that a checkpoint defines, as far as that is seen without loading it."""
    name, found = checkpoint_name(model), []
    own = [key for key in sorted(model.model_fields_set) if key not in ("checkpoint", "revision", "context")]
    if own:
        found.append(f"model.{own[0]}: it is the checkpoint's, {name}; leave it out.")
    if importlib.util.find_spec("transformers") is None:
        found.append("model.checkpoint: it needs the Python package `transformers`, which is not installed.")
    adapter, start = training.adapter, training.start
    if adapter is not None and importlib.util.find_spec("peft") is None:
        found.append("training.adapter: it needs the Python package `peft`, which is not installed.")
    if adapter is not None and start == "scratch":
        found.append(
            "training.start: scratch is not allowed with training.adapter. Allowed: checkpoint, previous, first."
        )
    if isinstance(model.checkpoint, Origin):
        if model.revision is not None:
            found.append(f"model.revision: {model.revision!r} is given for experiment '{name}'. Allowed is null.")
        return found
    name = str(model.checkpoint)
    folder = Path(name)
    if folder.is_dir():
        lacks = [each for each in ("config.json", "tokenizer.json") if not (folder / each).is_file()]
        weights = sorted(folder.glob("*.safetensors"))
        lacks += [] if weights else ["*.safetensors"]
        if lacks:
            found.append(f"model.checkpoint: '{name}' has no {lacks[0]}; it is a folder as save_pretrained writes it.")
        found += [f"model.checkpoint: {problem}." for problem in filter(None, map(unreadable, weights))][:1]
        found += [] if found else of_positions(name, folder / "config.json", model.context)
        if model.revision is not None:
            found.append(f"model.revision: {model.revision!r} is given, and '{name}' is a folder. Allowed is null.")
    elif name.count("/") > 1 or name.startswith((".", "/", "~")):
        found.append(f"model.checkpoint: '{name}' is not a folder (searched from {os.getcwd()}).")
    return found


def of_positions(name: str, config: Path, context: int) -> list[str]:
    """Whether the config.json of a folder can be read, and has positions for the context."""
    try:
        held = json.loads(config.read_bytes())
        text = held.get("text_config", held)
        most = next((text[key] for key in ("max_position_embeddings", "n_positions") if text.get(key)), context)
    except (ValueError, AttributeError):
        return [f"model.checkpoint: '{config}' is damaged."]
    return [f"model.context: {context} is more than the {most} positions of {name}."] if context > most else []


def of_beams(sampling: Sampling) -> list[str]:
    """Keys that say how tokens are drawn, which a beam search does not do."""
    drawn = ("temperature", "top_k", "top_p", "min_p", "typical_p")
    said = [key for key in drawn if getattr(sampling, key) != Sampling.model_fields[key].default]
    return [f"{key}: a beam search of {sampling.beams} beams draws no token; leave it out." for key in said]


def of_prompts(data: Data, training: Training, samplings: Sequence[Sampling]) -> list[str]:
    """What does not go with a column of prompts."""
    column, found = repr(data.prompt_column), []
    if data.documents != "whole":
        found.append(f"data.documents: with data.prompt_column, {column}, documents are not divided. Allowed is whole.")
    if training.packing:
        found.append(f"training.packing: with data.prompt_column, {column}, it is not possible. Allowed is false.")
    found += [
        f"sampling[{place}].prompt: the prompts are those of data.prompt_column, {column}; leave it out."
        for place, sampling in enumerate(samplings)
        if sampling.prompt != "begin-of-text"
    ]
    return found


def of_data(problem: str) -> str:
    """A problem that begins with its key, also where it is about a file."""
    return problem if problem.startswith(("data.", "data:")) else f"data: {problem}"
