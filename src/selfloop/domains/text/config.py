"""The sections of an experiment of the text domain. Light: the Snakefile and the steps import it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from selfloop.config.section import DataSeed, Paths, Reserve, Section, Start
from selfloop.config.training_length import TrainingLength

MOST_CUT = 0.1  # of a study's tokens may be cut off at the context before that is said


class Documents(Section):
    """How the source's documents are divided."""

    unsaid: ClassVar = frozenset({"tokens", "paragraphs"})

    tokens: Annotated[int, Field(ge=8)] | None = None
    """Cut documents into consecutive pieces of at most this many tokens, begin- and end-of-text included, each a row of
    its own; every token is in one of them, and the last piece alone ends with end-of-text. null cuts none.
    """
    paragraphs: bool = False
    """Make each paragraph (what blank lines divide) a document of its own, before `rows`, `test_fraction` and the like
    count them.
    """


Division = Literal["whole"] | Documents


class Data(Section):
    """Where the real documents come from, and which of them are used."""

    needs: ClassVar = {"packaged": ("name",), "files": ("train",), "hub": ("name",)}
    unsaid: ClassVar = frozenset({"name", "train", "reserve", "documents", "prompt_column"})

    source: Literal["packaged", "files", "hub"]
    """`packaged`: real text that is installed with the dependencies; `files`: your own; `hub`: a data set of the
    Hugging Face hub.
    """
    name: Annotated[str, Field(min_length=1)] | None = None
    """The packaged corpus (`shakespeare`, or half of its plays: `shakespeare-first-half`, `shakespeare-second-half`),
    or the hub data set's id (`roneneldan/TinyStories`); also a local folder that `datasets` opens, with a `/` in its
    path (`./stories`).
    """
    configuration: str | None = None
    """The hub data set's configuration."""
    revision: str | None = None
    """The hub data set's revision; name one for results that must stay the same."""
    train_split: str = "train"
    """The hub data set's split to train on."""
    test_split: str | None = "validation"
    """The hub data set's split to test on; null holds out `test_fraction` of the train split."""
    train: Paths | None = None
    """Paths or globs of the documents to train on: `.txt`, `.jsonl` or `.parquet`, each also with `.gz`, `.bz2`, `.xz`
    or `.zst`. One string or a list of them.
    """
    test: Paths | None = None
    """The same for the documents to test on; null holds out `test_fraction` of the train files' documents."""
    text_column: Annotated[str, Field(min_length=1)] = "text"
    """The column of `.jsonl` and `.parquet` files, or of the hub data set, that holds the text."""
    prompt_column: Annotated[str, Field(min_length=1)] | None = None
    """The column that holds the prompt, where `text_column` holds the response: a document is one after the other, the
    loss is on the response alone, and a synthetic document is a response to a real prompt. null for documents without
    prompts.
    """
    separator: Annotated[str, Field(min_length=1)] = "<|endoftext|>"
    """The line that ends a document in `.txt` files. One with letters between punctuation, such as `<|endoftext|>`,
    also ends it inside a line.
    """
    documents: Division = "whole"
    """`whole`: a document is a row, and what is longer than the model's context is not trained on; or how long ones are
    divided: `{tokens: 128}`, `{paragraphs: true}` or both. Divided, a .txt file needs no separator.
    """
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the documents held out with `seed` where the source has no test split of its own."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """Number of training documents, sampled with `seed`; null for all."""
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """Train on this share of the documents, sampled with `seed`; null for all. Give `rows` or `fraction`, not both."""
    test_rows: Annotated[int, Field(ge=1)] | None = None
    """Number of test documents, sampled with `seed`; null for all."""
    reserve: Reserve = 0.0
    """Further real rows for regimes that take `fresh` ones, in multiples of the train rows; they are in no other split.
    """
    min_characters: Annotated[int, Field(ge=1)] = 1
    """Shorter documents are left out."""
    seed: DataSeed = 0
    """Seed of the subsample and of the held-out documents. `per-chain`: the chain's own,
    so that intervals over seeds also say what another draw of the real data would change.
    """

    @property
    def piece(self) -> int | None:
        """The most tokens of a piece of a document, or None where documents are rows."""
        return None if self.documents == "whole" else self.documents.tokens

    @property
    def by_paragraph(self) -> bool:
        """Whether each paragraph is a document."""
        return self.documents != "whole" and self.documents.paragraphs


class Origin(Section):
    """A model that the study itself trains."""

    experiment: Annotated[str, Field(min_length=1)]
    """The experiment whose model of iteration 1 and of the same seed training starts from, with its tokenizer."""


class Model(Section):
    """The language model's architecture and size, or a checkpoint that has both."""

    one_of: ClassVar = ("architecture", "checkpoint")
    unsaid: ClassVar = frozenset({"checkpoint", "revision"})

    checkpoint: Annotated[str, Field(min_length=1)] | Origin | None = None
    """A causal language model of `transformers`, with its own tokenizer, in place of all keys but `context`: an id of
    the Hugging Face hub (`facebook/opt-125m`), or a folder; its weights are safetensors, and code that comes with it is
    not run. Or `{experiment: plays}`, the model of iteration 1 and of the same seed of another experiment.
    """
    revision: str | None = None
    """The hub checkpoint's revision; name one for results that must stay the same."""
    architecture: Literal["gpt2", "llama"] | None = None
    """Without a checkpoint: `gpt2` (tied embeddings, learnt positions) or `llama` (untied, rotary positions, gated
    feed-forward).
    """
    hidden_size: Annotated[int, Field(ge=8)] = 256
    """Width of the residual stream."""
    layers: Annotated[int, Field(ge=1)] = 8
    """Transformer blocks."""
    heads: Annotated[int, Field(ge=1)] = 8
    """Attention heads; must divide `hidden_size`, for llama into heads of an even width."""
    intermediate_size: Annotated[int, Field(ge=8)] | None = None
    """Width of the feed-forward part; null for 4 × `hidden_size`."""
    context: Annotated[int, Field(ge=8)] = 512
    """Longest sequence in tokens, begin- and end-of-text included; longer documents are cut, unless `data.documents`
    divides them.
    """
    vocabulary: Annotated[int, Field(ge=257, le=65536)] = 8000
    """Tokens of the byte-level BPE that is trained on the real train split; 257 to 65,536."""
    initializer_range: Annotated[float, Field(gt=0)] = 0.02
    """Standard deviation of the initial weights; residual outputs are scaled down by √(2·layers). Very small models
    learn faster from 0.04.
    """


class Adapter(Section):
    """Small matrices that are trained in place of the checkpoint's own."""

    kind: Literal["lora"] = "lora"
    """`lora`: products of two matrices of low rank, added to the checkpoint's, by PEFT (Hu et al. 2021)."""
    rank: Annotated[int, Field(ge=1)] = 16
    """Their rank."""
    alpha: Annotated[float, Field(gt=0)] | None = None
    """The product is multiplied by alpha / rank; null for the rank."""
    targets: list[str] | Literal["all-linear"] | None = None
    """Names of the modules that have them, or `all-linear` for all linear ones but the head; null for what PEFT takes
    for the architecture.
    """


class Training(TrainingLength):
    """How each model is trained."""

    unsaid: ClassVar = TrainingLength.unsaid | {"first_iteration", "adapter", "start"}
    of_machine: ClassVar = frozenset({"micro_batch"})

    start: Start | Literal["checkpoint"] | None = None
    """The weights that each training starts from: `checkpoint`, those of `model.checkpoint`; `scratch`, new random
    ones; from iteration 2 on, `previous`, those of model n-1, or `first`, those of model 1. The optimizer's moments
    always start at 0. null is `checkpoint` where the model has one, and `scratch` otherwise.
    """
    adapter: Adapter | None = None
    """With `model.checkpoint`: train an adapter, which alone is stored, such as `{kind: lora, rank: 16}`; null trains
    all weights.
    """
    packing: bool = False
    """Fill rows of the whole `context` with document after document, instead of one document per row."""
    compile: Literal["auto", True, False] = "auto"
    """Compile the model with torch.compile (`true`, `false`); auto does so on a GPU for runs of at least 2,000 steps,
    where there is a C compiler with Python's headers. It takes a minute, and changes the last bits of the results.
    """
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Documents (with `packing`, rows) per optimizer step, over all processes; no more than there are documents."""
    micro_batch: Annotated[int, Field(ge=1)] | None = None
    """Documents (with `packing`, rows) computed at once by each process, where a batch needs more memory than
    a GPU has; their gradients add up to the batch's. It changes rounding alone, as the number of GPUs does, and so
    neither names nor reruns anything. null for all at once.
    """
    learning_rate: Annotated[float, Field(gt=0)] = 0.0005
    """Peak learning rate of AdamW."""
    final_learning_rate: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Where the cosine ends, as a share of the peak."""
    warmup_steps: Annotated[int, Field(ge=0)] = 1000
    """Steps of linear warm-up; at most a tenth of the run is used."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """AdamW's weight decay, on matrices only."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """AdamW's first decay rate."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """AdamW's second decay rate."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """The gradient's norm is clipped to this."""
    evaluations: Annotated[int, Field(ge=1)] = 20
    """Points of the learning curve, evenly over the run; the last one is at its end."""
    evaluation_rows: Annotated[int, Field(ge=1)] | None = None
    """The learning curve measures this many of the test documents, the first ones; null for all. The models' own
    measurements are always of all.
    """
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Compute dtype: `bfloat16`, `float32`, or auto, the faster one: bfloat16 on GPUs that have it, on CPUs with AMX,
    and on AMD's with AVX-512's bfloat16. Weights are float32 in any case.
    """
    first_iteration: dict[str, object] | None = None
    """Keys of `training` that the model of iteration 1 has in place of the others, such as `{epochs: 3}` or
    `{steps: 900}`: does a better or worse first model change what follows (the paper's Fig. 14)? null for none.
    """


class Prompt(Section):
    """The beginning of a real document that a synthetic one begins with."""

    tokens: Annotated[int, Field(ge=1)]
    """Tokens of each real document's beginning, begin-of-text not counted; of a shorter document, all but its end."""


class Sampling(Section):
    """How documents are sampled; each entry gives chains of its own, which share their first models with the others."""

    unsaid: ClassVar = frozenset({"min_p", "typical_p", "repetition_penalty", "beams", "continuation"})

    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Logits are divided by it; 0 takes the most likely token."""
    top_k: Annotated[int, Field(ge=1)] | None = None
    """Sample among the k most likely tokens; null for all."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Sample among the fewest tokens that hold this probability; null for all."""
    min_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Sample among the tokens of at least this share of the most likely one's probability; null for all."""
    typical_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Sample among the tokens whose surprise is nearest to its mean, the fewest that hold this probability (locally
    typical sampling); null for all.
    """
    repetition_penalty: Annotated[float, Field(ge=1e-9, le=1e9)] = 1.0
    """Logits of tokens that a document has already, prompt included, are divided by it if positive and multiplied
    otherwise; 1 for none.
    """
    prompt: Literal["begin-of-text", "first-token"] | Prompt = "begin-of-text"
    """Begin with `begin-of-text` alone, or (`first-token`) also with the first token of each real document, one
    synthetic document per real one; or, with `{tokens: 64}`, with that many of them.
    """
    beams: Annotated[int, Field(ge=1)] = 1
    """Take the most likely document that a beam search of this width finds, by `transformers`; 1 samples."""
    continuation: Annotated[int | None, Field(ge=1, alias="continue")] = None
    """Sample at most this many tokens after the prompt; null for as many as `max_length` leaves."""
    max_length: Annotated[int, Field(ge=2)] | None = None
    """Longest sampled document in tokens, begin-of-text included; null for the model's context."""
    allow_unended: bool = False
    """Go on with a part in which no document reaches its end, as greedy sampling from a small model gives; otherwise
    such a part stops its job.
    """
    engine: Literal["torch", "vllm"] = "torch"
    """What samples: `torch`, the sampler of this workflow; or `vllm`, the same distribution from
    [vLLM](https://docs.vllm.ai), which is installed apart (see below).
    """

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the longest prompt, begin-of-text included."""
        if isinstance(self.prompt, Prompt):
            return 1 + self.prompt.tokens
        return 2 if self.prompt == "first-token" else 1


class Evaluation(Section):
    """Windows in which models read the test documents, whole, for their perplexity and bits per byte."""

    unsaid: ClassVar = frozenset({"window", "stride"})

    window: Annotated[int, Field(ge=2)] | None = None
    """Tokens that a model reads at once, at most `model.context`; null for that."""
    stride: Annotated[int, Field(ge=1)] | None = None
    """Tokens by which the window moves, fewer than it holds; each token is predicted once, in the first window that has
    it. null for half of the window.
    """

    def sizes(self, context: int) -> tuple[int, int]:
        """Window and stride of a model of that context."""
        window = self.window or context
        return window, self.stride or window // 2
