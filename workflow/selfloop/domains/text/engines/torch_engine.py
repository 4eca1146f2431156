"""The engine `torch`: our own sampler, in this process."""

import numpy as np
import torch

from selfloop.devices import choose_precision, prepare_torch
from selfloop.domains.text.checkpoint import load_checkpoint
from selfloop.domains.text.engines import Request
from selfloop.domains.text.sampler import sample as sample_documents


def sample(request: Request) -> list[np.ndarray]:
    """Per prompt its document, int32: prompt, sampled tokens, end-of-text where it ended within the maximum length.

    Raises:
        UserError: the checkpoint does not fit its config.
    """
    device = prepare_torch(request.threads)
    model = load_checkpoint(request.checkpoint, choose_precision(request.precision, device), str(device))
    prompts = torch.from_numpy(request.prompts).to(device)
    request.on_tokens(0)
    return sample_documents(model, prompts, dict(request.sampling), request.identity, request.on_tokens)
