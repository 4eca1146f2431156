"""Time of planning absurd but well-formed configs: each ends in a plan or a message, soon, and in no traceback.

With --read they are written to files, and reading them counts, too.

python benchmarks/absurd_configs.py [--slowest 10] [--only WORD] [--read]
"""

import argparse
import math
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from selfloop.config.load import read
from selfloop.config.section import Section
from selfloop.domains.protocol import domain_names, load_domain
from selfloop.errors import UserError
from selfloop.planning.rules import plan_study

LIMIT = 60.0  # seconds until a config counts as hanging
ALLOWED = 2.0  # seconds that planning may take
DATA: dict[str, dict[str, Any]] = {
    "text": {"source": "packaged", "name": "shakespeare", "rows": 100},
    "image": {"source": "packaged", "name": "orl", "size": 32},
    "molecule": {"source": "rdkit", "molecules": 20, "conformers": 2, "test_molecules": 10},
    "linear": {"dimension": 3, "rows": 32},
    "gaussian": {"dimension": 3, "rows": 32},
    "discrete": {"source": "packaged", "name": "shakespeare", "rows": 100},
    "kde": {"source": "moons", "rows": 50},
    "logistic": {"source": "packaged", "name": "diabetes"},
}
MODEL: dict[str, dict[str, Any]] = {
    "text": {"architecture": "gpt2", "hidden_size": 16, "layers": 1, "heads": 2, "context": 32},
    "image": {"channels": [4, 8]},
    "molecule": {"hidden_size": 8},
    "linear": {},
    "gaussian": {},
    "discrete": {},
    "kde": {},
    "logistic": {},
}
NUMBERS = ("10^9", "10^18", "1e300", "1e-300", "-1", "a million letters", "100,000 entries")  # for every field
Config = dict[str, Any]


class Hangs(BaseException):
    """It took too long."""


def stop(*_: object) -> None:
    """End what takes too long."""
    raise Hangs


def nested(depth: int) -> list[Any]:
    """A list in a list in a list."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def bomb(depth: int) -> list[Any]:
    """What aliases of YAML make: ten times the same list, of ten times the same list."""
    found: list[Any] = [0]
    for _ in range(depth):
        found = [found] * 10
    return found


VALUES: dict[str, Any] = {
    "10^9": 10**9,
    "10^18": 10**18,
    "10^400": 10**400,
    "1e300": 1e300,
    "1e-300": 1e-300,
    "-1": -1,
    "nan": math.nan,
    "inf": math.inf,
    "a million letters": "a" * 10**6,
    "100,000 entries": list(range(1, 100_001)),
    "nested 500 deep": nested(500),
    "nested 100,000 deep": nested(100_000),
    "aliases": bomb(30),
    "NUL": "a\0b",
    "half a surrogate pair": "\ud800",
}


def base(domain: str) -> Config:
    """A small study of a domain."""
    experiment: Config = {"domain": domain, "data": dict(DATA[domain]), "model": dict(MODEL[domain])}
    if domain in ("text", "image", "molecule"):
        experiment["training"] = {"batch_size": 2}
    return {"experiments": {"a": experiment | {"regimes": ["replace", "accumulate"], "iterations": 2, "seeds": [0]}}}


def of(domain: str = "linear", /, **entries: Any) -> Config:
    """The same with other entries of its experiment."""
    config = base(domain)
    config["experiments"]["a"].update(entries)
    return config


def with_regime(parts: Any, iterations: Any = 3, **more: Any) -> Config:
    """A study of a regime of its own."""
    return of(regimes=["own"], iterations=iterations) | {"regimes": {"own": {"parts": parts, **more}}}


def fields() -> Iterator[tuple[str, Config]]:
    """Every field of every section, with every absurd value."""
    for name in domain_names():
        for section, field in load_domain(name).experiment.model_fields.items():
            annotation: Any = {"sampling": None}.get(section, field.annotation)
            if section == "sampling":
                annotation = getattr(field.annotation, "__args__", [None])[0]
            if not (isinstance(annotation, type) and issubclass(annotation, Section)):
                continue
            for key in annotation.model_fields:
                for word in NUMBERS:
                    config, value = base(name), VALUES[word]
                    entry = config["experiments"]["a"]
                    held = {**(entry.get(section) or {}), key: value}
                    entry[section] = [held] if section == "sampling" else held
                    yield f"{name}: {section}.{key}: {word}", config


def structures() -> Iterator[tuple[str, Config]]:
    """What multiplies."""
    for word, value in VALUES.items():
        for key in ("seeds", "iterations", "regimes", "sampling", "like", "domain", "data", "model", "training"):
            yield f"{key}: {word}", of(**{key: value})
            yield f"{key}: [{word}]", of(**{key: [value]})
        for key in ("from", "amount"):
            yield f"parts.{key}: {word}", with_regime([{"from": "previous", key: value}])
        yield f"budget: {word}", with_regime([{"from": "previous"}], budget=value)
        for section in ("figures", "tables", "checkpointing", "regimes", "experiments", "unknown"):
            yield f"{section}: {word}", base("linear") | {section: value}
        yield f"titles: {word}", base("linear") | {"figures": {"titles": {"linear-headline": value}}}
        yield f"formats: {word}", base("linear") | {"figures": {"formats": value}}
        yield f"samples_per_model: {word}", base("text") | {"tables": {"samples_per_model": value}}
        yield f"first_iteration: {word}", of("text", training={"first_iteration": {"epochs": value}})
        yield f"grid: {word}", of(simulation={"grid": value})
        for key in ("dimension", "rows", "noise_variance"):
            yield f"grid.{key}: {word}", of(simulation={"grid": [{key: [value]}]})
        yield f"data.train: {word}", of("text", data={"source": "files", "train": value})
    for count in (1000, 3000, 10**5, 10**6, 10**12):
        for regime in ("replace", "accumulate", "replace-multiple", "accumulate-subsample", "real-multiple"):
            yield f"{count} iterations of {regime}", of(regimes=[regime], iterations=count)
        yield f"{count} iterations simulated", of(simulation={"iterations": count})
        yield f"{count} seeds simulated", of(simulation={"seeds": count})
        for domain in domain_names():
            yield f"{count} iterations of {domain}", of(domain, iterations=count)
        for origin in ("real", "previous", "all"):
            yield f"{count} times {origin}", with_regime([{"from": origin, "amount": float(count)}])
            yield f"{count} lines of {origin}", with_regime([{"from": origin}] * min(count, 10**5))
            yield f"{count} amounts of {origin}", with_regime([{"from": origin, "amount": [1.0] * min(count, 10**5)}])
            scheduled = [{"from": origin, "amount": "iteration"}]
            yield f"{count} iterations of n times {origin}", with_regime(scheduled, iterations=count)
    for count in (1000, 10**4, 10**5):
        many = [f"r{number}" for number in range(count)]
        parts = {"parts": [{"from": "previous"}]}
        yield f"{count} seeds", of(seeds=list(range(count)))
        yield f"{count} seeds of text", of("text", seeds=list(range(count)))
        yield f"{count} seeds, the last twice", of(seeds=[*range(count), count - 1])
        yield f"{count} regimes", of(regimes=many) | {"regimes": dict.fromkeys(many, parts)}
        yield f"{count} unused regimes", base("linear") | {"regimes": dict.fromkeys(many, parts)}
        yield f"{count} samplings", of("text", sampling=[{"temperature": 1 + n / count} for n in range(count)])
        yield f"{count} equal samplings", of("text", sampling=[{}] * count)
        yield f"{count} titles", base("linear") | {"figures": {"titles": dict.fromkeys(many, "a")}}
        yield f"{count} files", of("text", data={"source": "files", "train": many})
        yield f"{count} globs", of("text", data={"source": "files", "train": [f"{name}*" for name in many]})
        alike = {f"e{n}": {"like": f"e{n + 1}"} for n in range(count)} | {
            f"e{count}": base("linear")["experiments"]["a"]
        }
        yield f"a chain of {count} like", {"experiments": alike}
        yield f"a chain of {count} like, from its end", {"experiments": dict(reversed(alike.items()))}
        circle = {f"e{n}": {"like": f"e{(n + 1) % count}"} for n in range(count)}
        yield f"a circle of {count} like", {"experiments": circle}
        star = {f"e{n}": {"like": "a"} for n in range(count)}
        yield f"{count} experiments", {"experiments": base("linear")["experiments"] | star}
        yield f"{count} covariance", of(data={"dimension": count, "rows": count, "covariance": [[1.0]] * count})
        yield f"{count} channels", of("image", model={"channels": [1] * count})
    side = list(range(1, 101))
    yield "a grid of 10^6", of(simulation={"grid": [{"dimension": side, "rows": side, "noise_variance": side}]})
    yield "a grid of 10^4", of(simulation={"grid": [{"dimension": side, "rows": [n + 200 for n in side]}]})
    yield "10^5 equal lines of a grid", of(simulation={"grid": [{}] * 10**5})
    for pattern in ("**", "/**", "/**/*.txt", "/**/**/**/*", "/*/*/*/*/*", "*" * 10**4, "[" * 10**4):
        yield f"data.train: {pattern[:12]}", of("text", data={"source": "files", "train": pattern})
        yield f"sdf: {pattern[:12]}", of("molecule", data={"source": "sdf", "train": pattern})
    for folder in ("/dev", "/dev/zero"):
        yield f"images: {folder}", of("image", data={"source": "files", "train": folder, "size": 32})
        yield f"text: {folder}", of("text", data={"source": "files", "train": folder})
        yield f"hub: {folder}", of("text", data={"source": "hub", "name": folder})


def timed(config: Config, file: Path | None) -> tuple[float, str]:
    """Seconds of CPU time, and what planning ended in; of what `file` then holds, if it is given."""
    if file is not None:
        try:
            file.write_text(yaml.dump(config, Dumper=yaml.CSafeDumper), encoding="utf-8")
        except (RecursionError, ValueError, yaml.YAMLError):
            return 0.0, "cannot be written"
    began = time.process_time()
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        said = f"a plan of {len(plan_study(config if file is None else read(file)).models)} models"
    except (SystemExit, UserError) as error:
        said = str(error)
    except Hangs:
        said = "HANGS"
    except BaseException as error:
        said = f"TRACEBACK {type(error).__name__}: {str(error)[:200]}"
    signal.setitimer(signal.ITIMER_REAL, 0)
    return time.process_time() - began, said


def main() -> None:
    """Plan them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slowest", type=int, default=10, help="how many to show (default: 10)")
    parser.add_argument("--only", default="", help="only those whose description holds this")
    parser.add_argument("--read", action="store_true", help="read each from a file")
    asked = parser.parse_args()
    signal.signal(signal.SIGALRM, stop)
    for domain in domain_names():
        plan_study(base(domain))  # imports
    found = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.yaml" if asked.read else None
        for name, config in [*structures(), *fields()]:
            if asked.only in name:
                found.append((*timed(config, file), name))
    bad = [entry for entry in found if entry[1].startswith(("TRACEBACK", "HANGS")) or len(entry[1]) > 1000]
    for seconds, said, name in [*sorted(found, reverse=True)[: asked.slowest], *bad]:
        print(f"{seconds:6.2f} s  {name}: {said[:300]}")
    slow = sum(seconds > ALLOWED for seconds, _, _ in found)
    print(
        f"{len(found)} configs: {slow} take more than {ALLOWED:g} s, {len(bad)} end in a traceback or no short message"
    )


if __name__ == "__main__":
    main()
