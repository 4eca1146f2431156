"""What models make of documents, token by token: perplexities, entropies, and losses by how rare a token is."""

import numpy as np
import numpy.typing as npt
import torch

from selfloop.domains.text.data.token_store import TokenStore, padded
from selfloop.domains.text.model.loss import IGNORED, by_length
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.pretrained import Pretrained
from selfloop.domains.text.profile.ngram import Floats, Keys, Text

Model = Transformer | Pretrained
QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)
BIN, BINS = 0.25, 48  # nats, the width of a bin of the histogram; and how many there are, up to 12 nats
BANDS = 5  # of tokens, each with as many of the real train tokens; band 1 has the rarest types
LOGITS_AT_ONCE = 2**24


@torch.inference_mode()
def token_losses(model: Model, store: TokenStore, device: torch.device, temperature: float = 1.0) -> Floats:
    """Of every predicted token of all documents, in their order, the loss in nats: -log of its softmax(logits/T)."""
    found: list[npt.NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(store)
    for indices in by_length(store.lengths, min(8192, LOGITS_AT_ONCE // model.vocabulary)):
        ids = torch.from_numpy(padded([store[index] for index in indices])).to(device)
        inputs, targets = ids[:, :-1].clamp(min=0), ids[:, 1:]
        given = store.given_of(indices)
        if given is not None:
            places = torch.arange(1, ids.shape[1], device=device)
            targets = targets.masked_fill(places < torch.from_numpy(given).to(device)[:, None], IGNORED)
        logits = model(inputs).float() / temperature
        wanted = targets.clamp(min=0)[..., None]
        losses = torch.logsumexp(logits, dim=-1) - logits.gather(-1, wanted)[..., 0]
        for row, index in enumerate(indices.tolist()):
            found[index] = losses[row][targets[row] != IGNORED].cpu().numpy()
    return np.concatenate([*found, np.zeros(0, np.float32)]).astype(np.float64)


def perplexities(losses: Floats, text: Text) -> Floats:
    """Of every document with a predicted token, the logarithm of its perplexity: its mean loss, nats per token."""
    counts = np.bincount(text.document)
    sums = np.bincount(text.document, losses)
    means: Floats = sums[counts > 0] / counts[counts > 0]
    return means


def quantiles(values: Floats) -> dict[float, float]:
    """The `QUANTILES` of some values."""
    return dict(zip(QUANTILES, np.quantile(values, QUANTILES).tolist(), strict=True))


def histogram(values: Floats) -> dict[float, float]:
    """Share of values by the middle of a bin; the last bin holds all that are larger."""
    places = np.minimum(np.floor(values / BIN).astype(np.int64), BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    return {(place + 0.5) * BIN: float(count / len(values)) for place, count in enumerate(counts)}


def bands_of(counts: Keys) -> Keys:
    """The band of every token type, 1 to `BANDS`, by its count in real train text; types of equal count by their id."""
    order = np.argsort(counts, kind="stable")
    # By the middle of a type's share, so that a very frequent one does not leave bands empty.
    middles = (np.cumsum(counts[order]) - counts[order] / 2) / max(counts.sum(), 1)
    bands = np.empty(len(counts), np.int64)
    bands[order] = np.minimum((middles * BANDS).astype(np.int64) + 1, BANDS)
    return bands


def by_band(losses: Floats, text: Text, bands: Keys) -> dict[float, float]:
    """The mean loss of the tokens of each band, nats per token; bands without a token are left out."""
    own = bands[text.tokens]
    sums, counts = np.bincount(own, losses, minlength=BANDS + 1), np.bincount(own, minlength=BANDS + 1)
    return {float(band): float(sums[band] / counts[band]) for band in range(1, BANDS + 1) if counts[band]}
