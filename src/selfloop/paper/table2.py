"""The paper's numbers for language models, and which experiments of a study they can be compared with.

Source of all values: "Is Model Collapse Inevitable?" (arXiv:2404.01413), appendix C, Table 2: test cross-entropy on
TinyStories in nats per token, one seed.

Light: figures, tables and pages may ask it while the Snakefile is parsed.
"""

from dataclasses import dataclass

from selfloop.config.section import given
from selfloop.domains.text.config import Data, Model, Sampling, Training
from selfloop.domains.text.model.shape import parameter_count

VOCABULARY = 8000  # of all models, by their published configurations


@dataclass(frozen=True)
class Column:
    """A column of Table 2 in our terms: a regime (None for iteration 1, which all share) and an iteration from 1.

    `heading` is the paper's; `reading` says how we interpret it where it is ambiguous.
    """

    heading: str
    regime: str | None
    iteration: int
    reading: str = ""


# "t=4 (repl)" may be the fourth fit or the fifth: a replace run that the authors published has 1.8149, 2.0721, 2.2052,
# 2.3035, 2.3944 at its fits 1 to 5, of which the table has 1.82 at t=1 and 2.39 at t=4.
COLUMNS = (
    Column("t=1", None, 1),
    Column("t=4 (acc)", "accumulate", 4),
    Column("t=4 (repl)", "replace", 4, "4th fit"),
    Column("t=4 (repl)", "replace", 5, "5th fit"),
    Column("t=10 (repl)", "replace", 10),
    Column("t=4 (*)", "replace-multiple", 4, "replace-multiple"),
)


@dataclass(frozen=True)
class Row:
    """A row of Table 2: its published settings, and its values by column heading."""

    name: str
    architecture: str
    parameters: int
    values: dict[str, float]
    temperature: float = 1.0
    fraction: float = 1.0
    epochs: float = 1.0


def _values(*values: float) -> dict[str, float]:
    headings = dict.fromkeys(column.heading for column in COLUMNS)
    return dict(zip(headings, values, strict=False))


# Parameters: exact counts of the authors' published configurations, whose names round them.
ROWS = (
    Row("GPT-2 (9M)", "gpt2", 8_890_880, _values(1.82, 1.74, 2.39, 2.91, 2.18)),
    Row("GPT-2 (9M) (temp=0.3)", "gpt2", 8_890_880, _values(1.82, 1.75, 5.82, 9.85), temperature=0.3),
    Row("GPT-2 (9M) (small dataset)", "gpt2", 8_890_880, _values(2.56, 2.28, 3.21, 3.72, 2.91), fraction=0.2),
    Row("ibid (+ 3 epochs)", "gpt2", 8_890_880, _values(1.99, 1.87, 2.62), fraction=0.2, epochs=3.0),
    Row("Llama-2 (12M)", "llama", 12_488_960, _values(2.06, 1.94, 2.72)),
    Row("Llama-2 (42M)", "llama", 41_755_136, _values(1.90, 1.76, 2.52)),
    Row("Llama-2 (126M)", "llama", 125_553_408, _values(1.71, 1.59, 2.23)),
)


def paper_row(data: Data, model: Model, training: Training, sampling: Sampling) -> Row | None:
    """The row of Table 2 with the same settings, or None.

    It must have the same data (TinyStories from the hub, and the same share of it), architecture, exact size,
    temperature and epochs, and nothing else that shapes the data, the samples or iteration 1. What the paper does not
    specify (heads, batch size, learning rate, prompts) may differ.
    """
    if data.source != "hub" or given(data.name).rsplit("/", 1)[-1].lower() != "tinystories":
        return None
    if data.rows is not None or data.min_characters > 1:
        return None
    if model.vocabulary != VOCABULARY or training.first_iteration:
        return None
    if sampling.max_length not in (None, model.context):
        return None
    if sampling.top_k is not None or sampling.top_p not in (None, 1.0) or not isinstance(sampling.prompt, str):
        return None
    if any(getattr(sampling, key) != type(sampling).model_fields[key].default for key in sampling.unsaid):
        return None
    settings = (model.architecture, parameter_count(model), sampling.temperature, data.fraction or 1.0)
    for row in ROWS:
        same = (row.architecture, row.parameters, row.temperature, row.fraction)
        if (*settings, training.epochs) == (*same, row.epochs):
            return row
    return None


def row_named(name: str) -> Row:
    """The row of that name."""
    return next(row for row in ROWS if row.name == name)
