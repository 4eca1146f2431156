"""All measures of the text domain's profile, of sampled documents beside as many real ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from tokenizers import Tokenizer

from selfloop.data.profile_rows import Values
from selfloop.domains.text.config import Sampling
from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.data.tokenizer import OWN_MARKS
from selfloop.domains.text.profile.losses import (
    Model,
    bands_of,
    by_band,
    histogram,
    perplexities,
    quantiles,
    token_losses,
)
from selfloop.domains.text.profile.measures import Real, halves, pieces
from selfloop.domains.text.profile.ngram import Floats, Keys, Text, text_of
from selfloop.domains.text.profile.words import mtld, words, zipf_exponent

REPLACEMENT = "\ufffd"  # stands for bytes that are not UTF-8


@dataclass(frozen=True)
class Documents:
    """Documents as tokens and as strings.

    Attributes:
        store: their tokens, cut at the model's context.
        text: the same with our own marks, each token with those before it.
        strings: what they spell, without prompts.
    """

    store: TokenStore
    text: Text
    strings: list[str]

    @property
    def bytes(self) -> int:
        """Bytes of all documents in UTF-8."""
        return sum(len(text.encode()) for text in self.strings)


def documents(store: TokenStore, tokenizer: Tokenizer) -> Documents:
    """The documents of a store."""
    said = store.responses()
    strings = tokenizer.decode_batch([said[index].tolist() for index in range(len(said))], skip_special_tokens=True)
    return Documents(store, text_of(own_marks(store)), strings)


def without_prompts(store: TokenStore, sampling: Sampling) -> TokenStore:
    """The same documents, of which the tokens that sampling was given count as prompts: they are real."""
    if store.given is not None or sampling.prompt_tokens == 1:
        return store
    return TokenStore(store.tokens, store.bounds, store.marks, np.minimum(store.lengths, sampling.prompt_tokens))


def is_whole(sampling: Sampling) -> bool:
    """Whether documents are drawn from softmax(logits/temperature), which is neither cut nor changed."""
    cuts = (sampling.top_k, sampling.top_p, sampling.min_p, sampling.typical_p)
    drawn = sampling.temperature > 0 and sampling.beams == 1 and sampling.repetition_penalty == 1
    return drawn and all(cut is None for cut in cuts)


def own_marks(store: TokenStore) -> TokenStore:
    """The same documents with our own marks.

    What is 0 and what are marks change places: nothing here depends on which id a token has.
    """
    marks = store.marks
    if marks[:2] == OWN_MARKS[:2]:
        return store
    tokens = np.asarray(store.tokens)
    swapped = np.where(np.isin(tokens, marks[:2]), OWN_MARKS.end, np.where(tokens == OWN_MARKS.end, marks.end, tokens))
    return TokenStore(swapped.astype(tokens.dtype), store.bounds, given=store.given)


class Mirror:
    """Real test documents to compare samples with.

    Args:
        real: the documents.
        first: model 1 of the chains.
        device: where models run.
        counts: of each token in the real train documents, [vocabulary].
    """

    def __init__(self, real: Documents, first: Model, device: torch.device, counts: Keys) -> None:
        self.real, self.first, self.device = real, first, device
        self.tokens = Real(halves(real.text), first.vocabulary)
        self.size = len(self.tokens.halves[0])
        self.bands = bands_of(counts)
        self.words = words(real.strings)

    @cached_property
    def perplexities(self) -> Floats:
        """Of the real documents under model 1, logarithms."""
        return perplexities(token_losses(self.first, self.real.store, self.device), self.real.text)

    @cached_property
    def referee_losses(self) -> Floats:
        """Of each real token under the referee of the half that it is not in, nats."""
        text, losses = self.real.text, np.empty(len(self.real.text))
        for half, referee in enumerate(self.tokens.referees):
            outside = text.document % 2 != half
            losses[outside] = -referee.log_probabilities(text.part(outside))
        return losses

    @cached_property
    def itself(self) -> Values:
        """The measures of the real documents: of each half against the other, or of all."""
        bits = float(self.referee_losses.sum() / np.log(2) / max(self.real.bytes, 1))
        return {
            **self.tokens.itself,
            **self._strings(self.real),
            **_perplexity(self.perplexities),
            "band_cross_entropy": by_band(self.referee_losses, self.real.text, self.bands),
            "bits_per_byte": bits,
            "sampler_entropy": float(self.referee_losses.mean()),
        }

    def of(self, sampled: Documents) -> Values:
        """Measures of samples that need no model but model 1.

        Returns:
            what `Real.measures` says, and
            mtld, zipf_exponent: of as many words as half of the real documents have, mean over two pieces.
            ended: share of documents that end; invalid_utf8: share with bytes that are not UTF-8.
            perplexity: quantiles of the documents' perplexities under model 1, by quantile.
            log_perplexity: share of documents by the logarithm of that perplexity, by the middle of a bin.
        """
        store = sampled.store.first(min(len(sampled.store), len(self.real.store)))
        own = perplexities(token_losses(self.first, store, self.device), text_of(store))
        measured = self.tokens.measures(pieces(sampled.text, self.size))
        return {**measured, **self._strings(sampled), **_perplexity(own)}

    def carried(self, before: Documents, after: Documents) -> Mapping[str, float]:
        """How much of the errors of one iteration the next one has: see `Real.carried`."""
        return self.tokens.carried(pieces(before.text, self.size), pieces(after.text, self.size))

    def of_model(self, model: Model, sampled: Documents, sampling: Sampling) -> Values:
        """Measures of the model that sampled.

        Returns:
            band_cross_entropy: of the real documents by the band of the real token, nats per token; bits_per_byte: of
            the real documents; sampler_entropy: of the sampler, nats per token: the mean of -log q over half as
            many of its samples, where q has its temperature. It is left out where the sampler has another q.
        """
        losses = token_losses(model, self.real.store, self.device)
        found: dict[str, float | Mapping[float, float]] = {
            "band_cross_entropy": by_band(losses, self.real.text, self.bands),
            "bits_per_byte": float(losses.sum() / np.log(2) / max(self.real.bytes, 1)),
        }
        if is_whole(sampling):
            store = sampled.store.first(min(len(sampled.store), max(1, len(self.real.store) // 2)))  # costs a pass
            found["sampler_entropy"] = float(token_losses(model, store, self.device, sampling.temperature).mean())
        return found

    def _strings(self, of: Documents) -> dict[str, float]:
        rows = min(len(of.strings), len(self.real.strings))
        own, half = words(of.strings), len(self.words) // 2
        half = min(half, len(own) // 2)
        both = own[:half], own[half : 2 * half]
        return {
            "mtld": float(np.mean([mtld(each) for each in both])),
            "zipf_exponent": float(np.mean([zipf_exponent(each) for each in both])),
            "ended": float(of.store.ended[:rows].mean()),
            "invalid_utf8": float(np.mean([REPLACEMENT in text for text in of.strings[:rows]])),
        }


def _perplexity(own: Floats) -> dict[str, Mapping[float, float]]:
    factors = {at: float(np.exp(value)) for at, value in quantiles(own).items()}
    return {"perplexity": factors, "log_perplexity": histogram(own)}
