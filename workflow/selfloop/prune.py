"""Delete what no later step needs, after showing how much that frees.

PYTHONPATH=workflow python -m selfloop.prune --configfile config/mine.yaml      (or: make prune CONFIG=config/mine.yaml)

What goes: checkpoints between a chain's first and last iteration, once all that is made from them is there; saved
states of trainings whose models are evaluated; scratch files of killed steps; and whatever no longer belongs to the
study. What stays: every data set, measurement and learning curve, what figures and tables show, and the first and the
last checkpoint of every chain. So figures can be drawn again, and the study can have more iterations, seeds, regimes
and temperatures, without training anything twice. A changed piece of evaluation code, though, has to train those models
again.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfloop import claim, commands
from selfloop.errors import UserError
from selfloop.plan import Plan
from selfloop.progress import steps
from selfloop.study import DATA, MODELS, RESULTS, SIMULATIONS


@dataclass(frozen=True)
class Item:
    """Something to delete, and why."""

    path: Path
    why: str
    size: int  # bytes


def prunable(plan: Plan) -> list[Item]:
    """What no later step of a study needs, below the current folder; none of it inside another."""
    found: dict[Path, Item] = {}
    for path, why in (*_checkpoints(plan), *_strangers(plan), *_states(plan), *_scratch()):
        if not any(parent in found for parent in (path, *path.parents)):
            found[path] = Item(path, why, size(path))
    return list(found.values())


def _checkpoints(plan: Plan) -> Iterator[tuple[Path, str]]:
    kept = {Path(path) for path in plan.shown_files}
    finished: set[str] = set()
    for chain in plan.chains:
        kept |= {Path(MODELS, model.name, "checkpoint") for model in (chain.models[0], chain.models[-1])}
        for model, jobs in zip(chain.models, steps(chain), strict=True):
            if all(job.state == "done" for job in jobs):
                finished.add(model.name)
    # Of a model in several chains: finished in one, it may still have parts to sample in another.
    for chain in plan.chains:
        for model, jobs in zip(chain.models, steps(chain), strict=True):
            if any(job.state != "done" for job in jobs):
                finished.discard(model.name)
    for name in sorted(finished):
        path = Path(MODELS, name, "checkpoint")
        if path not in kept and path.exists():
            yield path, "checkpoints of finished iterations between the first and the last"


def _strangers(plan: Plan) -> Iterator[tuple[Path, str]]:
    why = "of other studies or earlier settings"
    models = {Path(MODELS, name) for name in plan.models}
    parts = {Path(part.folder) for part in plan.parts.values()}
    yield from (
        (path, f"models {why}") for path in sorted(Path(MODELS).glob("*/seed*/iteration*")) if path not in models
    )
    for path in sorted(Path(MODELS).glob("*/seed*/iteration*/parts/*")):
        if path.with_name(path.name.removesuffix(".measurements.json")) not in parts and not path.name.startswith("."):
            yield path, f"sampled data {why}"
    real = {Path(DATA, experiment.real_name) for experiment in plan.experiments}
    tokenizers = {Path(e.tokenizer_file) for e in plan.experiments if e.tokenizer_file is not None}
    yield from ((path, f"data {why}") for path in sorted(Path(DATA).glob("*")) if path.name not in plan.data)
    for path in sorted([*Path(DATA).glob("*/tokenized-*"), *Path(DATA).glob("*/tokenizer-*.json")]):
        if path not in real | tokenizers:
            yield path, f"data {why}"
    simulations = {Path(file) for file in plan.simulation_files}
    yield from ((path, f"simulations {why}") for path in sorted(Path(SIMULATIONS).glob("*")) if path not in simulations)


def _states(plan: Plan) -> Iterator[tuple[Path, str]]:
    for path in sorted(Path(RESULTS, "state").glob("*/seed*/iteration*")):
        name = str(path.relative_to(Path(RESULTS, "state")))
        if name not in plan.models or _is_evaluated(Path(MODELS, name)):
            yield path, "saved states that no training goes on from"


def _is_evaluated(model: Path) -> bool:
    """Whether a model was evaluated since its training, which Snakemake has recorded then and does not do again."""
    curve, measured = model / "learning_curve.parquet", model / "measurements.json"
    there = all(path.exists() for path in (model / "checkpoint", curve, measured))
    return there and measured.stat().st_mtime_ns >= curve.stat().st_mtime_ns


def _scratch() -> Iterator[tuple[Path, str]]:
    for path in sorted(Path(RESULTS).rglob(".*.partial")):
        yield path, "scratch files of killed steps"


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; a link counts as nothing."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def delete(item: Item) -> None:
    """Delete it, and the folders around it that are empty then."""
    if item.path.is_dir():
        shutil.rmtree(item.path)
    else:
        item.path.unlink()
    for parent in item.path.parents:
        if parent == Path(RESULTS) or any(parent.iterdir()):
            return
        parent.rmdir()


def shown(count: int) -> str:
    """Bytes, for people."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"


def _agreed() -> bool:
    print("Delete all this? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def main(arguments: Sequence[str]) -> int:
    """Show, ask, delete."""
    parser = commands.parser("Delete what no later step of a study needs.")
    parser.add_argument("--yes", action="store_true", default=os.environ.get("YES") == "1", help="do not ask")
    options = parser.parse_args(arguments)
    plan = commands.load_plan(options.configfile)
    if claim.is_held():
        raise UserError(f"nothing was deleted: {claim.refusal()}")
    items = prunable(plan)
    if not items:
        print("There is nothing to delete.")
        return 0
    for why in dict.fromkeys(item.why for item in items):
        own = [item for item in items if item.why == why]
        print(f"{shown(sum(item.size for item in own)):>12}  {len(own)} {why}")
        for item in own[:5]:
            print(f"{'':14}{item.path}")
        if len(own) > 5:
            print(f"{'':14}and {len(own) - 5} more")
    print(f"{shown(sum(item.size for item in items)):>12}  in all, of {shown(size(Path(RESULTS)))}")
    if not options.yes and not _agreed():
        print("Nothing was deleted.")
        return 1
    for item in items:
        delete(item)
    print("Deleted.")
    return 0


if __name__ == "__main__":
    commands.run(main)
