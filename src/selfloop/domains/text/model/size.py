"""How large a language model is."""

from selfloop.domains.protocol import Settings


def parameter_count(model: Settings) -> int:
    """Trainable parameters, tied embeddings counted once.

    Exact for both architectures: tests compare it with the module's own count and with `transformers`.
    """
    hidden, layers, vocabulary = int(model["hidden_size"]), int(model["layers"]), int(model["vocabulary"])
    inner: int = model["intermediate_size"] or 4 * hidden
    if model["architecture"] == "gpt2":
        block = 4 * hidden + (3 * hidden * hidden + 3 * hidden) + (hidden * hidden + hidden)
        block += (hidden * inner + inner) + (inner * hidden + hidden)
        return vocabulary * hidden + int(model["context"]) * hidden + layers * block + 2 * hidden
    block = 2 * hidden + 4 * hidden * hidden + 3 * hidden * inner
    return 2 * vocabulary * hidden + layers * block + hidden
