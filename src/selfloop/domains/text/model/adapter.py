"""LoRA by PEFT: small matrices beside those of a checkpoint, which stay as they are.

A checkpoint of it holds the adapter alone; the weights beside it are the study's `model.checkpoint`. `peft` is imported
where it is needed.
"""

import importlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import torch
from torch import Tensor

from selfloop.domains.text.config import Adapter, Model
from selfloop.errors import UserError

Network: TypeAlias = Any  # a transformers.PreTrainedModel, whose methods have no types
FILE = "adapter_config.json"
PREFIX = "base_model.model."  # of names in PEFT's models


def _peft() -> ModuleType:
    return importlib.import_module("peft")


def add_adapter(network: Network, adapter: Adapter, base: Model, seed: int) -> Network:
    """A PEFT model of the network, in place; its new matrices alone are trained, and the seed decides them.

    Raises:
        UserError: the network lacks the modules, or PEFT knows none for its architecture.
    """
    config = _peft().LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.rank if adapter.alpha is None else adapter.alpha,
        target_modules=adapter.targets,
        task_type="CAUSAL_LM",
        base_model_name_or_path=base.checkpoint,
        revision=base.revision,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Conv1D, which it then treats as it should
        torch.manual_seed(seed)
        try:
            return _peft().get_peft_model(network, config)
        except ValueError as error:
            said = " ".join(str(error).split())
            raise UserError(
                f"training.adapter.targets: {adapter.targets} does not fit {base.checkpoint}: {said}"
            ) from None


def is_adapter(folder: Path) -> bool:
    """Whether a checkpoint holds an adapter alone."""
    return (folder / FILE).is_file()


def base_of(folder: Path) -> tuple[str, str | None]:
    """What the adapter of a checkpoint was trained beside: a folder or an id of the hub, and its revision."""
    config = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return config["base_model_name_or_path"], config.get("revision")


def with_adapter(network: Network, folder: Path, trained: bool = False) -> Network:
    """The network with the adapter of a checkpoint: merged into its weights, or to be trained on."""
    wrapped = _peft().PeftModel.from_pretrained(network, str(folder), is_trainable=trained)
    return wrapped if trained else wrapped.merge_and_unload()


def save_adapter(wrapped: Network, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write an adapter as PEFT does, and the config of the model that it belongs to.

    Args:
        wrapped: the PEFT model.
        weights: of the adapter, named as in the network.
        folder: existing.
    """
    tensors = {PREFIX + name: tensor for name, tensor in weights.items()}
    wrapped.save_pretrained(folder, state_dict=tensors, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    network = wrapped.get_base_model()
    network.config.save_pretrained(folder)
    network.generation_config.save_pretrained(folder)
