"""`selfloop init`: looks at the user's files, and writes a study of them that takes about as long as they say."""

import os
import re
import shlex
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import ModuleType

import yaml

from selfloop.domains.cost import AnyEffort
from selfloop.domains.proposal import Choices, Draft, Found, Scale
from selfloop.domains.protocol import domain_names
from selfloop.errors import UserError
from selfloop.numbers import duration
from selfloop.operations.cost import SpeedOf, costs
from selfloop.operations.overhead import SESSION, overhead, slowness
from selfloop.operations.speed import Rates, measured
from selfloop.planning import study as studies
from selfloop.planning.artifacts import Experiment
from selfloop.planning.check import check
from selfloop.planning.rules import Plan
from selfloop.planning.work import domain_module
from selfloop.processes.gpus import devices

SNAKEFILE = Path(__file__).parents[3] / "Snakefile"
NO_WORKFLOW = (
    "This installation holds the library alone, without the workflow that runs studies: clone selfloop's repository, "
    "and run snakemake --snakefile CLONE/Snakefile in place of snakemake."
)
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
ANSWERS = 20.0  # seconds that the hub may take
HUB_ROWS = 400  # of a hub data set, read to see what they are
MOST_SEEDS = 20
COMMENTS, WIDTH = 40, 110  # columns of the config that is written
READS = (
    "text (.txt, .jsonl or .parquet, also compressed), a folder or zip of images, SDF files, the id of a data set on "
    "the Hugging Face hub, or the folder of a checkpoint beside the text to train it on"
)


@dataclass(frozen=True)
class Structure:
    """Regimes, iterations and seeds, with reasons."""

    regimes: tuple[str, ...]
    iterations: int
    seeds: int


# From the shortest loop to one that can be judged, and then with controls.
STRUCTURES = (
    Structure(("replace", "accumulate"), 2, 1),
    Structure(("replace", "accumulate"), 3, 1),
    Structure(("replace", "accumulate"), 3, 3),
    Structure(("replace", "accumulate", "real"), 4, 3),
    Structure(("replace", "accumulate", "accumulate-subsample", "real"), 5, 5),
)
# Pairs of a structure and a scale, from short to long: first three seeds, then a larger model, then controls.
LADDER = ((0, 0), (1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (4, 2), (4, 3), (4, 4), (4, 5))


@dataclass(frozen=True)
class Proposal:
    """A study that could be written, and the seconds that it takes."""

    domain: str
    found: Found
    structure: Structure
    scale: Scale
    factor: float
    seconds: float = 0.0

    @property
    def draft(self) -> Draft:
        """The domain's sections."""
        return self.scale.draft(self.factor)

    def config(self) -> dict[str, object]:
        """The config, as it is read."""
        loop = {
            "regimes": list(self.structure.regimes),
            "iterations": self.structure.iterations,
            "seeds": list(range(self.structure.seeds)),
        }
        return {"experiments": {self.found.name: {"domain": self.domain, **self.draft.plain(), **loop}}}


def look(named: Sequence[str]) -> tuple[str, Found]:
    """The domain that reads the user's files, and what it finds in them.

    Raises:
        UserError: no domain reads them, or several do; what the domain says of them.
    """
    modules = {name: module for name in domain_names() if (module := domain_module(name, "proposal"))}
    text = modules["text"]
    checkpoints = [name for name in named if text.is_checkpoint(Path(name))]
    rest = [name for name in named if name not in checkpoints]
    if checkpoints and (len(checkpoints) > 1 or not rest):
        raise UserError(
            f"{checkpoints[-1]} is a language model's checkpoint; name one, and beside it the text to train it on: "
            f"selfloop init {checkpoints[0]} stories.txt"
        )
    if len(rest) == 1 and not Path(rest[0]).exists() and HUB_ID.fullmatch(rest[0]):
        return _on_hub(rest[0], modules)
    for name in rest:
        if not Path(name).exists():
            raise UserError(f"{name} does not exist (searched from {os.getcwd()}).")
    claims = {name: [module.files_of(Path(each)) for each in rest] for name, module in modules.items()}
    counts = {name: sum(map(len, files)) for name, files in claims.items()}
    domain = "text" if checkpoints else max(counts, key=lambda name: counts[name])
    paths = list(dict.fromkeys(path for files in claims[domain] for path in files))
    for name, files in zip(rest, claims[domain], strict=True):
        if not files:
            held = _suffixes(Path(name))
            raise UserError(f"{name}: {held}; selfloop init reads {READS}.")
    found: Found = modules[domain].found(rest, paths, *checkpoints)
    others = {name: count for name, count in counts.items() if count and name != domain}
    left = "files of {} beside them are left out; name these alone for them."
    also = tuple(f"{count:,} {left.format(name)}" for name, count in others.items())
    return domain, replace(found, said=(*found.said, *also))


def _suffixes(path: Path) -> str:
    """What a path holds, by suffix."""
    if not path.is_dir():
        return (
            f"the suffix {path.suffix!r} is not one of data" if path.suffix else "it has no suffix that says what it is"
        )
    counts = Counter(inner.suffix or "no suffix" for inner in path.rglob("*") if inner.is_file())
    return "it holds " + (", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(5)) or "nothing")


def _on_hub(name: str, modules: dict[str, ModuleType]) -> tuple[str, Found]:
    """What is in a data set of the Hugging Face hub, by its first rows."""
    import datasets
    from huggingface_hub import HfApi

    try:
        HfApi().dataset_info(name, timeout=ANSWERS)  # fails at once where `datasets` tries for half a minute
        builder = datasets.load_dataset_builder(name)
        rows = list(islice(datasets.load_dataset(name, split="train", streaming=True), HUB_ROWS))
    except Exception as error:  # whatever the hub, the network or a reader of a format raises
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name} is not a file here, and as a data set of the Hugging Face hub it cannot be read: {said}. Where "
            "there is no network, name a file."
        ) from error
    if builder.info.features is None and rows:
        builder.info.features = datasets.Dataset.from_list(rows[:10]).features
    for domain in ("image", "text"):
        found = modules[domain].of_hub(name, builder, rows)
        if found is not None:
            return domain, found
    columns = ", ".join(builder.info.features or {}) or "none"
    raise UserError(f"{name} has no column of texts or images; its columns: {columns}.")


def fitted(domain: str, found: Found, minutes: float, cores: int, speed_of: SpeedOf) -> Proposal:
    """The richest study whose shortest form fits the time, as long as the time allows.

    Raises:
        UserError: none is that short.
    """
    slow = slowness()

    def timed(proposal: Proposal) -> Proposal:
        return replace(proposal, seconds=seconds(proposal, cores, speed_of, slow))

    budget, last = minutes * 60, len(found.scales) - 1
    rungs = [(loop, scale) for loop, scale in LADDER if scale <= last]
    rungs += [(loop, last) for loop in range(rungs[-1][0] + 1, len(STRUCTURES))]
    chosen: Proposal | None = None
    for loop, scale in rungs:
        shortest = timed(Proposal(domain, found, STRUCTURES[loop], found.scales[scale], 1.0))
        if shortest.seconds > budget:
            break
        chosen = shortest
    if chosen is None:
        least = _rounded_up(shortest.seconds / 60)
        raise UserError(
            f"--minutes {minutes:g}: the shortest study of {found.name} takes about {duration(shortest.seconds)} on "
            f"this machine; allow --minutes {least:g}."
        )
    chosen = _lengthened(chosen, budget, timed)
    if chosen.seconds < budget:
        longer = timed(replace(chosen, structure=replace(chosen.structure, seeds=chosen.structure.seeds + 1)))
        more = int((budget - chosen.seconds) / max(1.0, longer.seconds - chosen.seconds))
        count = min(MOST_SEEDS, chosen.structure.seeds + more)
        if more and chosen.structure.seeds >= 3:
            chosen = timed(replace(chosen, structure=replace(chosen.structure, seeds=count)))
    return chosen


def _lengthened(shortest: Proposal, budget: float, timed: Callable[[Proposal], Proposal]) -> Proposal:
    """The same study with as much more data or training as the time allows; time is about linear in that."""
    if shortest.scale.most <= 1:
        return shortest
    best, other = shortest, timed(replace(shortest, factor=min(shortest.scale.most, 4.0)))
    for _ in range(3):
        slope = (other.seconds - best.seconds) / (other.factor - best.factor)
        if slope <= 0:
            break
        factor = min(shortest.scale.most, max(1.0, best.factor + (budget - best.seconds) / slope))
        if abs(factor - best.factor) < 0.02:
            break
        best, other = timed(replace(shortest, factor=factor)), best
    return best if best.seconds <= 1.1 * budget else shortest


def _rounded_up(minutes: float) -> float:
    steps = (0.5, 1, 2, 3, 5, 10, 15, 30, 60)
    return next((step for step in steps if step >= 1.1 * minutes), -(-1.1 * minutes // 60) * 60)


def seconds(proposal: Proposal, cores: int, speed_of: SpeedOf, slow: float) -> float:
    """How long a study takes, with nothing else on the machine.

    Args:
        proposal: the study.
        cores: CPUs that work side by side, each on a step.
        speed_of: how fast one is.
        slow: how much slower this machine does what no FLOPs are counted of, see `slowness`.
    """
    checked = check(proposal.config())
    plan = Plan(studies.experiments(checked, False))
    plan.checked = checked

    def effort_of(experiment: Experiment, rows: int | None) -> AnyEffort:
        return proposal.found.effort(experiment.data, experiment.model)

    total = costs(plan, speed_of, effort_of=effort_of)[0][-1]
    counted = 3600 * sum(total.device_hours.values())
    around = slow * overhead(total)
    chains = len(proposal.structure.regimes) * proposal.structure.seeds
    gpus = len(devices())
    parallel = min(cores, chains)
    return SESSION * slow + counted / (min(gpus, chains) if gpus else parallel) + around / parallel


def write(proposal: Proposal, file: Path, command: str) -> str:
    """The text of the config.

    Args:
        proposal: the study.
        file: where it is written.
        command: what the user typed.
    """
    structure, draft = proposal.structure, proposal.draft
    lines = [
        *_comment(f"Written by: {command}", 0),
        *_comment(f"About {duration(proposal.seconds)} on this machine. Run it with:", 0),
        f"# {_run(file)}",
        *[line for said in proposal.found.said for line in _comment(said, 0)],
        "experiments:",
        f"  {_scalar(proposal.found.name)}:",
        *_line(4, "domain", proposal.domain, "by what the files hold"),
    ]
    for name in ("data", "model", "training"):
        lines += [f"    {name}:", *_keys(getattr(draft, name), 6)]
    if draft.sampling:
        first, *others = _keys(draft.sampling, 8)
        lines += ["    sampling:", f"      - {first.lstrip()}", *others]
    lines += _line(4, "regimes", list(structure.regimes), _regimes(structure))
    lines += _line(4, "iterations", structure.iterations, "models of a chain; the first is trained on real data alone")
    lines += _line(4, "seeds", list(range(structure.seeds)), _seeds(structure))
    return "\n".join(lines) + "\n"


def _regimes(structure: Structure) -> str:
    why = (
        "each model learns from its predecessor's samples (replace), or from all samples and the real data (accumulate)"
    )
    if "real" in structure.regimes:
        why += "; real is a control, the noise of training alone"
    if "accumulate-subsample" in structure.regimes:
        why += "; accumulate-subsample has as many rows as replace"
    return why


def _seeds(structure: Structure) -> str:
    if structure.seeds < 3:
        return "with three or more, which take more minutes, the page says in a word whether the loop does harm"
    return "a chain each; the page's intervals are over them"


def _keys(choices: Choices, indent: int) -> list[str]:
    return [line for key, choice in choices.items() for line in _line(indent, key, choice.value, choice.why)]


def _line(indent: int, key: str, value: object, why: str) -> list[str]:
    """A key with the reason beside it, which goes on below."""
    begin = f"{' ' * indent}{key}: {_scalar(value)}"
    if not why:
        return [begin]
    column = max(COMMENTS, len(begin) + 2)
    if column > WIDTH - 30:
        return [*_comment(why, indent), begin]
    first, *others = textwrap.wrap(why, WIDTH - column - 2)
    return [f"{begin:{column}}# {first}", *(f"{' ' * column}# {each}" for each in others)]


def _comment(text: str, indent: int) -> list[str]:
    return [f"{' ' * indent}# {line}" for line in textwrap.wrap(text, WIDTH - indent - 2, break_on_hyphens=False)]


def _scalar(value: object) -> str:
    """A value as YAML, on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("\n...\n").strip()


def print_found(said: Iterable[str]) -> None:
    """Print what was found."""
    for text in said:
        print(textwrap.fill(text, 100, subsequent_indent="  "))


def write_study(named: Sequence[str], minutes: float, file: Path | None, cores: int | None) -> None:
    """Look at data, write the config of a study of them, and say what was found and how to run it.

    Raises:
        UserError: see `look` and `fitted`; the file exists or cannot be written.
    """
    from selfloop.training.speed import usable_threads

    domain, found = look(named)
    print_found(found.said)
    file = file or Path(f"{found.name}.yaml")
    if file.exists():
        raise UserError(f"{file} exists, and nothing is overwritten; name another file: --output FILE.")
    folder = file.resolve().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        why = "cannot be written to" if folder.is_dir() else "does not exist"
        raise UserError(f"{file}: the folder {folder} {why}; name another file: --output FILE.")
    print("Measuring how fast this machine trains and samples ...", flush=True)
    proposal = fitted(domain, found, minutes, usable_threads(cores), measured(Rates(), 1, []))
    command = shlex.join(["selfloop", "init", *named, "--minutes", f"{minutes:g}"])
    file.write_text(write(proposal, file, command), encoding="utf-8")
    print(f"\n{file}: a study of about {duration(proposal.seconds)}. Look at it, then run it:\n")
    print(f"    {_run(file)}")
    if not SNAKEFILE.exists():
        print(f"\n{NO_WORKFLOW}")


def snakefile() -> Path:
    """The workflow's Snakefile.

    Raises:
        UserError: it is not installed.
    """
    if not SNAKEFILE.exists():
        raise UserError(NO_WORKFLOW)
    return SNAKEFILE


def _run(file: Path) -> str:
    """The command that runs a study: from the clone's own folder, or from another one."""
    words = ["snakemake", "--cores", "all", "--configfile", str(file)]
    if SNAKEFILE.exists() and not Path("Snakefile").exists():
        words[1:1] = ["--snakefile", str(SNAKEFILE)]
    return shlex.join(words)
