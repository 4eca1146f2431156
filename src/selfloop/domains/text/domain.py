"""What the study asks of the text domain while it is planned: names, sizes, and what is wrong with the settings."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from selfloop.config import models
from selfloop.config.section import first_of, given
from selfloop.data.profile import Measure, Profile
from selfloop.data.quantity import Quantity
from selfloop.data.regimes import BUILT_IN, Regime
from selfloop.domains.protocol import PRELOAD, Analysis, Domain, too_large
from selfloop.domains.text.config import MOST_CUT, Data, Evaluation, Model, Origin, Prompt, Sampling, Training
from selfloop.domains.text.cost import characters_per_token
from selfloop.domains.text.data import sources
from selfloop.domains.text.model.shape import parameter_count, shape_of
from selfloop.domains.text.problems import (
    allowed_heads,
    checkpoint_name,
    of_beams,
    of_checkpoint,
    of_data,
    of_prompts,
    of_vllm,
)
from selfloop.errors import UserError
from selfloop.identity import slug
from selfloop.numbers import short


class Experiment(models.Experiment):
    """An experiment of this domain."""

    domain: Literal["text"]
    data: Data
    model: Model
    training: Training = Training()
    sampling: Annotated[list[Sampling], Field(min_length=1)] = [Sampling()]
    evaluate: Evaluation | None = None
    """Also measure each model's perplexity and bits per byte on the test documents, with a window and a stride; null
    for their cross-entropy alone.
    """


FAMILY = {"gpt2": "GPT-2", "llama": "Llama-2"}


LOSS = Quantity("cross_entropy", "test", "Test cross-entropy", "nats per token", logarithmic=True)
SAMPLED = replace(LOSS, split="synthetic")
WINDOWED = (
    Quantity("perplexity", "test", "Perplexity"),
    Quantity("bits_per_byte", "test", "Bits per byte"),
)


ENTROPY = Measure("entropy", "Entropy of samples", "nats/token", logarithmic=True)
RECALL = Measure("recall", "Real 3-grams met", floor=0.0, ceiling=1.0)
DISTINCT = Measure("distinct_2", "Distinct 2-grams", floor=0.0, ceiling=1.0)
KAPPA = Measure("kappa", "Error carried on, κ", even=1.0)
PROFILED = (
    ENTROPY,
    Measure("sampler_entropy", "Entropy of the sampler", "nats/token", logarithmic=True),
    Measure("referee_cross_entropy", "Cross-entropy by the referee", "nats/token", logarithmic=True),
    RECALL,
    Measure("distinct_1", "Distinct 1-grams", floor=0.0, ceiling=1.0),
    DISTINCT,
    Measure("distinct_3", "Distinct 3-grams", floor=0.0, ceiling=1.0),
    Measure("unseen_bigrams", "Bigrams that real text lacks"),
    Measure("rare_mass", "Mass of the rarer half of types"),
    Measure("unigram_divergence", "Unigram divergence", "nats"),
    Measure("artifact_mass", "Artifact mass"),
    KAPPA,
    Measure("kappa_correlation", "Correlation of errors"),
    Measure("ended", "Documents that end"),
    Measure("invalid_utf8", "Documents with invalid UTF-8"),
    Measure("mtld", "MTLD", "words"),
    Measure("zipf_exponent", "Zipf exponent"),
    Measure("bits_per_byte", "Bits per byte of real test text"),
)


class Text(Domain[Experiment, Data, Model, Sampling]):
    """What the study asks of text data."""

    name = "text"
    title = "Text"
    described = ("source", "name", "rows", "fraction")
    experiment = Experiment
    headline = LOSS
    curve = LOSS
    synthetic = (
        replace(SAMPLED, metric="cross_entropy_under_first_model", label="Cross-entropy under model 1", role="quality"),
        replace(SAMPLED, metric="cross_entropy_under_sampling_model", label="Cross-entropy under its sampler"),
        Quantity("distinct_1", "synthetic", "Distinct 1-grams"),
        Quantity("distinct_2", "synthetic", "Distinct 2-grams"),
        Quantity("distinct_3", "synthetic", "Distinct 3-grams"),
        Quantity("duplicate_share", "synthetic", "Exact duplicates"),
        Quantity("mean_length", "synthetic", "Mean length", "tokens"),
    )
    profile = Profile(
        spread=ENTROPY, recall=RECALL, flat=(DISTINCT,), like=RECALL, carried=KAPPA, wider="become more random"
    )
    samples = True
    scorers = ("cross-entropy", "length", "duplicates", "oracle", "detector", "command")
    weights = True
    preload = (*PRELOAD, "tokenizers", "llvmlite.binding")

    def architecture(self, data: Data, model: Model) -> dict[str, object]:
        if model.checkpoint is not None:
            return {"checkpoint": model.checkpoint, "revision": model.revision}
        return asdict(shape_of(model))

    def input_files(self, data: Data) -> list[str]:
        return sources.input_files(data)

    def shared_steps(self, experiment: Experiment) -> tuple[str, ...]:
        """See `Domain`; vLLM samples a part in one process."""
        return ("train", "generate") if all(each.engine == "torch" for each in experiment.sampling) else ("train",)

    def data_slug(self, data: Data) -> str:
        """A readable name for the data: the corpus, the file's stem, or the hub id's last word."""
        if data.source == "files":
            first = first_of(data.train)
            word = first.rsplit("/", 1)[-1].split(".", 1)[0]
        else:
            word = given(data.name).rsplit("/", 1)[-1]
        return slug(word)

    def model_slug(self, model: Model) -> str:
        """For example gpt2-h128-l4, or opt-125m."""
        if model.checkpoint is not None:
            return slug(checkpoint_name(model))
        return f"{model.architecture}-h{model.hidden_size}-l{model.layers}"

    def model_title(self, model: Model) -> str:
        """For example GPT-2 (9M), or opt-125m."""
        if model.checkpoint is not None:
            return checkpoint_name(model)
        millions = parameter_count(model) / 1e6
        return (
            f"{FAMILY[str(model.architecture)]} ({millions:.{0 if millions >= 5 else 1 if millions >= 0.95 else 2}f}M)"
        )

    def sampling_slug(self, sampling: Sampling) -> str:
        """For example t0.3, or t0.3-vllm."""
        word = f"t{sampling.temperature:g}" if sampling.beams == 1 else f"beams{sampling.beams}"
        return word + ("" if sampling.engine == "torch" else f"-{sampling.engine}")

    def sampling_title(self, sampling: Sampling) -> str:
        """For example temperature=1.0, top_p=0.9."""
        words = [f"temperature={float(sampling.temperature)}"]
        words += [
            f"{key}={value}"
            for key in ("top_k", "top_p", "min_p", "typical_p", "max_length")
            if (value := getattr(sampling, key)) is not None
        ]
        if sampling.beams > 1:
            words = [f"beams={sampling.beams}", *words[1:]]
        if sampling.repetition_penalty != 1:
            words.append(f"repetition_penalty={sampling.repetition_penalty:g}")
        if isinstance(sampling.prompt, Prompt):
            words.append(f"prompt={sampling.prompt.tokens} tokens")
        elif sampling.prompt != "begin-of-text":
            words.append(f"prompt={sampling.prompt}")
        if sampling.continuation is not None:
            words.append(f"continue={sampling.continuation}")
        if sampling.engine != "torch":
            words.append(f"engine={sampling.engine}")
        return ", ".join(words)

    def tokenizer(self, model: Model) -> dict[str, object]:
        """What a tokenizer depends on besides its text."""
        if model.checkpoint is not None:
            return {"checkpoint": model.checkpoint, "revision": model.revision}
        return {"vocabulary": model.vocabulary}

    def baseline(self, model: Model) -> dict[str, object]:
        """Where documents are cut, and the tokens that there are."""
        return {"context": model.context, "vocabulary": None if model.checkpoint is not None else model.vocabulary}

    def evaluation(self, experiment: Experiment) -> dict[str, object]:
        """Window and stride, where they are asked for."""
        if experiment.evaluate is None:
            return {}
        window, stride = experiment.evaluate.sizes(experiment.model.context)
        return {"window": window, "stride": stride}

    def preload_of(self, model: Model) -> tuple[str, ...]:
        """`transformers` for checkpoints."""
        needs = ("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto", "peft")
        return () if model.checkpoint is None else needs

    def model_files(self, model: Model) -> list[str]:
        """The files of a checkpoint's folder; none of one of the hub."""
        if not isinstance(model.checkpoint, str) or not Path(model.checkpoint).is_dir():
            return []
        return sorted(map(str, filter(Path.is_file, Path(model.checkpoint).iterdir())))

    def origin(self, model: Model) -> str | None:
        """The experiment that `model.checkpoint` names."""
        return model.checkpoint.experiment if isinstance(model.checkpoint, Origin) else None

    def started_from(self, model: Model, checkpoint: object) -> Model:
        """The section with a folder in place of the experiment that `model.checkpoint` names."""
        return model.changed(checkpoint=checkpoint)

    def sized(self, model: Model, origin: Model) -> Model:
        """The origin's, with the context of the experiment itself."""
        return origin.changed(context=model.context)

    def origin_problems(self, experiment: Experiment, origin: Experiment) -> list[str]:
        """What is wrong with starting from a model of another experiment."""
        name, context = checkpoint_name(experiment.model), origin.model.context
        if origin.training.adapter is not None:
            return [f"model.checkpoint: '{name}' trains an adapter; name an experiment that trains all weights."]
        if origin.model.checkpoint is None and experiment.model.context > context:
            return [f"model.context: {experiment.model.context} is more than that of '{name}', {context}."]
        return []

    def trained(self, experiment: Experiment) -> Training:
        """Without `start`, unless a checkpoint gives nothing but its architecture."""
        training = experiment.training
        fresh = experiment.model.checkpoint is not None and training.start == "scratch"
        return training if fresh else training.without("start")

    def problems(self, experiment: Experiment) -> list[str]:
        """What the schema cannot say; one sentence each, beginning with the key within the experiment."""
        data, model, training = experiment.data, experiment.model, experiment.training
        keys = "model.hidden_size, layers, intermediate_size, context, vocabulary"
        if found := too_large(parameter_count(model), keys):
            return found
        found = [of_data(problem) for problem in sources.problems(data)]
        found += of_checkpoint(experiment.model, experiment.training) if model.checkpoint is not None else []
        if model.checkpoint is None and model.architecture is None:
            found.append("model.architecture: it is needed, or a checkpoint. Allowed: gpt2, llama.")
        if model.checkpoint is None and training.adapter is not None:
            found.append("training.adapter: it is only allowed with model.checkpoint.")
        if model.checkpoint is None and training.start == "checkpoint":
            found.append("training.start: checkpoint is only allowed with model.checkpoint.")
        allowed = allowed_heads(model)
        if model.checkpoint is None and model.heads not in allowed:
            reason = "divide model.hidden_size"
            if model.architecture == "llama":
                reason += " into heads of an even width, which rotary positions need"
            found.append(
                f"model.heads: {model.heads} does not {reason} ({model.hidden_size}). "
                f"Allowed: {', '.join(map(str, allowed)) or 'none; take an even hidden_size'}."
            )
        if data.reserve and data.piece is not None:
            found.append(
                f"data.reserve: {data.reserve:g} is a number of documents, and with data.documents: {{tokens: "
                f"{data.piece}}} rows are their pieces, of which the reserve may have too few. Allowed: 0, or "
                "documents that are whole or paragraphs."
            )
        if experiment.evaluate is not None:
            window, stride = experiment.evaluate.sizes(model.context)
            if window > model.context:
                found.append(f"evaluate.window: {window} is more than the model's context, {model.context} tokens.")
            if stride >= window:
                found.append(f"evaluate.stride: {stride} is not less than the window, {window} tokens.")
        if data.prompt_column is not None:
            found += of_prompts(experiment.data, experiment.training, experiment.sampling)
        if data.documents != "whole" and not (data.piece or data.by_paragraph):
            found.append("data.documents: it divides nothing. Allowed: whole, {tokens: 128} or {paragraphs: true}.")
        if data.piece is not None and data.piece > model.context:
            found.append(
                f"data.documents.tokens: {data.piece} is more than the model's context, {model.context} tokens, where "
                "pieces would be cut."
            )
        for place, sampling in enumerate(experiment.sampling):
            longest = sampling.max_length
            if longest is not None and longest > model.context:
                found.append(
                    f"sampling[{place}].max_length: {longest} is more than the model's context, {model.context} tokens."
                )
            if (room := longest or model.context) <= sampling.prompt_tokens:
                found.append(
                    f"sampling[{place}].prompt: {sampling.prompt_tokens} tokens, begin-of-text included, leave none to "
                    f"sample of {room} (sampling.max_length or model.context)."
                )
            if sampling.continuation is not None and sampling.prompt_tokens + sampling.continuation > model.context:
                found.append(
                    f"sampling[{place}].continue: {sampling.continuation} tokens after a prompt of "
                    f"{sampling.prompt_tokens} are more than the model's context, {model.context} tokens."
                )
            if sampling.continuation is not None and longest is not None:
                found.append(
                    f"sampling[{place}].continue: {sampling.continuation} and max_length {longest} are both given; "
                    "give one of the two."
                )
            if sampling.beams > 1 and sampling.prompt == "begin-of-text" and data.prompt_column is None:
                found.append(f"sampling[{place}].beams: without a prompt, all documents would be the same; give one.")
            if sampling.beams > 1:
                found += [f"sampling[{place}].{problem}" for problem in of_beams(sampling)]
            if sampling.engine == "vllm":
                found += [f"sampling[{place}].{problem}" for problem in of_vllm(sampling)]
        if not found:
            try:
                rows = sources.known_train_rows(data)
            except UserError as error:
                return [of_data(str(error))]
            if rows == 0:
                least = "one document" if data.test else "two documents, as one is for the test split"
                found.append(f"data.train: {data.train!r} has none to train on (allowed are files of at least {least})")
            elif rows is not None and rows < training.batch_size and data.piece is None:
                found.append(
                    f"training.batch_size: {training.batch_size} is more than the {rows} documents to train on; "
                    "take a smaller batch or more documents."
                )
        return found

    def known_rows(self, experiment: Experiment) -> tuple[int, int] | None:
        """The most documents to train on and those of a batch; with packing, a batch holds no fixed number of them."""
        rows, training = sources.known_train_rows(experiment.data), experiment.training
        unknown = rows is None or training.packing or experiment.data.piece is not None
        return None if rows is None or unknown else (rows, training.batch_size)

    def warnings(self, experiment: Experiment) -> list[str]:
        """How much is cut at the context, if much, by the usual number of characters per token."""
        data, context = experiment.data, experiment.model.context
        lengths, whole = ([], True) if data.piece is not None else sources.first_lengths(data)
        per_token = characters_per_token(experiment.model.vocabulary)
        tokens = sum(lengths) / per_token + 2 * len(lengths)
        cut = sum(length / per_token + 2 - context for length in lengths if length / per_token + 2 > context)
        if cut <= MOST_CUT * tokens:
            return []
        much = f"{short(round(cut))} of {short(round(tokens))} tokens ({cut / tokens:.1%})"
        much += "" if whole else f" of the first {len(lengths):,} documents"
        helps = f"data.documents: {{tokens: {context}}} trains on all of them, in consecutive pieces."
        if data.prompt_column is not None:
            helps = "raise it, as prompts and responses are not divided."
        return [f"model.context: documents are cut at {context} tokens, so about {much} are not trained on; {helps}"]

    def analyses(
        self, experiments: Mapping[str, Experiment], regimes: Mapping[str, Regime] = BUILT_IN
    ) -> list[Analysis]:
        """What models say of test documents in windows, where that is asked for, and the figures of the profile."""
        measures, figures = [asdict(measure) for measure in PROFILED], ("profile", "perplexity", "bands")
        profile = Analysis("plot_profile", figures=figures, asked=measures, reads=("profile",))
        if all(experiment.evaluate is None for experiment in experiments.values()):
            return [profile]
        return [Analysis("plot_windows", figures=("windows",), asked=[asdict(each) for each in WINDOWED]), profile]


DOMAIN = Text()
