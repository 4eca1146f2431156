"""Where every artifact and every log lies, relative to the working folder.

Names are those that a `Study` gives; a rule passes a wildcard ("{model}") in place of a name.
"""

from selfloop.identity import short

RESULTS = "results"
DATA = f"{RESULTS}/data"
MODELS = f"{RESULTS}/models"
SIMULATIONS = f"{RESULTS}/simulations"
PROFILES = f"{RESULTS}/profiles"
LOGS = f"{RESULTS}/logs"
STATE = f"{RESULTS}/state"
FIGURES = f"{RESULTS}/figures"
TABLES = f"{RESULTS}/tables"
STUDY = f"{RESULTS}/study"

METRICS = f"{RESULTS}/metrics.parquet"
LEARNING_CURVES = f"{RESULTS}/learning_curves.parquet"
PROFILE = f"{RESULTS}/profile.parquet"
CHAINS = f"{RESULTS}/chains.csv"
PAGE = f"{RESULTS}/report/index.html"
SUMMARY = f"{RESULTS}/report/summary.txt"
PROVENANCE = f"{RESULTS}/provenance.json"


def real(name: str, split: str) -> str:
    """The real data as models read them: `name` is an experiment's `real_name`, `split` "train", "test" or so."""
    return f"{DATA}/{name}/{split}"


def documents(data: str) -> str:
    """The `real_name` of prepared data that no tokenizer has read."""
    return f"{data}/documents"


def tokenized(data: str, tokenizer: str) -> str:
    """The `real_name` of prepared data that a tokenizer has read."""
    return f"{data}/tokenized-{tokenizer}"


def tokenizer(data: str, name: str) -> str:
    """A tokenizer, trained on prepared data."""
    return f"{DATA}/{data}/tokenizer-{name}.json"


def model(name: str) -> str:
    """The folder of one trained model and all that is made from it."""
    return f"{MODELS}/{name}"


def training_set(name: str) -> str:
    """The training set of a model."""
    return f"{model(name)}/training-set"


def checkpoint(name: str) -> str:
    """The weights of a model."""
    return f"{model(name)}/checkpoint"


def learning_curve(name: str) -> str:
    """The learning curve of a model's training, its last output."""
    return f"{model(name)}/learning_curve.parquet"


def model_measurements(name: str) -> str:
    """What was measured on a model."""
    return f"{model(name)}/measurements.json"


def baseline(real_name: str, name: str) -> str:
    """The test loss of a predictor that learns nothing, on real data as models read them."""
    return f"{DATA}/{real_name}/baseline-{name}.json"


def state(name: str) -> str:
    """Resume checkpoints of a model's training; undeclared, since Snakemake deletes outputs before a retry."""
    return f"{STATE}/{name}"


def part(model_name: str, name: str) -> str:
    """A data set sampled from a model."""
    return f"{model(model_name)}/parts/{name}"


def part_measurements(model_name: str, name: str) -> str:
    """What was measured on a sampled data set."""
    return f"{part(model_name, name)}.measurements.json"


def part_state(model_name: str, name: str) -> str:
    """Finished slices of a part that is being sampled; not below `state`, which another step deletes."""
    return f"{STATE}/parts/{model_name}/{name}"


def scores(model_name: str, name: str, score: str) -> str:
    """The scores of the rows of a sampled data set by one scorer."""
    return f"{part(model_name, name)}.scores-{score}.parquet"


def simulation(name: str) -> str:
    """The measurements of whole chains that one job has simulated."""
    return f"{SIMULATIONS}/{name}.parquet"


def profile(name: str) -> str:
    """How the parts of one setting and seed differ from real data."""
    return f"{PROFILES}/{name}.parquet"


def figure(domain: str, name: str, file_format: str) -> str:
    """A figure of one domain."""
    return f"{FIGURES}/{domain}-{name}.{file_format}"


def table(domain: str, name: str, file_format: str) -> str:
    """A table of one domain."""
    return f"{TABLES}/{domain}-{name}.{file_format}"


def profile_table(file_format: str) -> str:
    """What the phenomena of collapse do under every regime of the study."""
    return f"{TABLES}/profile.{file_format}"


def mark(shown: str, identity: str) -> str:
    """The mark of what a rule shows of one study; see `selfloop.jobs.marks`."""
    return f"{STUDY}/{shown}-{short(identity)}"


def log(rule: str, *names: str) -> str:
    """The log of a job: its rule, and the names that tell its jobs apart."""
    return f"{'/'.join([LOGS, rule, *names])}.log"
