"""Laying a model out for the products that its processor does best."""

from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.sampling import onednn
from selfloop.domains.text.sampling.amx import TiledDecoder, fits_tiles


def pack(model: Transformer, rows: int, tokens: int | None = None) -> str:
    """Prepare a model to be sampled, in place; it can then neither be trained nor saved.

    Args:
        model: in the dtype and on the device to sample with.
        rows: about as many sequences are decoded at once.
        tokens: ids from this one on are never sampled; None for no limit.

    Returns:
        what multiplies matrices, for logs.
    """
    if fits_tiles(model):
        model.decode = TiledDecoder(model, tokens)  # type: ignore[method-assign]
        return "AMX tiles"
    if onednn.can_pack(next(model.parameters())):
        onednn.pack(model, rows)
        return "oneDNN"
    return "torch"
