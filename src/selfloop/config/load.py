"""Check a config before anything is built, and say what is wrong in one message.

The message names the key, what it held, and what is allowed.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from selfloop.domains.protocol import domain_names, load_domain, schema_path
from selfloop.errors import UserError
from selfloop.planning import regimes

SCHEMA = Path(__file__).parent / "config.schema.yaml"
SECTIONS = ("data", "model", "training", "sampling", "simulation")
REQUIRED = ("domain", "data", "regimes", "iterations", "seeds")
# A key of `training`, in domains whose schema has it: settings of `training` that iteration 1 has in place of the rest.
FIRST_ITERATION = "first_iteration"

TYPE_NAMES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "array": "a list",
    "object": "a section (key: value)",
    "boolean": "true or false",
    "null": "null",
}


class _Loader(yaml.SafeLoader):
    """PyYAML's, which of two entries of one key takes the last without a word; this one refuses them."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # As it is written: later, merged keys (<<) stand beside the keys that override them.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise UserError(
                    f"line {line}: the key '{key.value}' stands in line {lines[key.value]} already; leave one out."
                )
            lines[key.value] = line
        return node


def read(path: Path) -> dict[str, Any]:
    """What a config file holds, to be checked.

    Raises:
        UserError: it cannot be read, is not YAML, holds a key twice, or no keys.
    """
    try:
        held = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, ValueError, yaml.YAMLError, UserError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(held, dict):
        raise UserError(f"{path}: it holds no keys.")
    return held


def check_keys(path: Path) -> None:
    """Raise `UserError` for a key that a file, which Snakemake has read, holds twice in one place."""
    try:
        yaml.compose(path.read_text(encoding="utf-8"), _Loader)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except yaml.YAMLError:
        return  # JSON with tabs, which Snakemake knows


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with defaults filled in and `like` resolved.

    Raises:
        UserError: anything that is wrong, named by its key, with what it held and what is allowed.
    """
    _check_plain(config, ())
    schema = load_schema(SCHEMA)
    _raise_first(schema, config, ())
    checked: dict[str, Any] = with_defaults(schema, config)
    _check_regime_tables(checked["regimes"])
    own = {name: regimes.from_config(name, table) for name, table in checked["regimes"].items()}
    known = {**regimes.BUILT_IN, **own}
    entries = checked["experiments"]
    checked["experiments"] = {name: _experiment(name, entries, known) for name in entries}
    return checked


def check_titles(titles: Iterable[str], figures: Iterable[str]) -> None:
    """Raise `UserError` for the first of `figures.titles` that names none of the study's figures."""
    for name in titles:
        _check_member(("figures", "titles"), name, figures, "figure")


def _experiment(name: str, entries: Mapping[str, Any], known_regimes: Mapping[str, regimes.Regime]) -> dict[str, Any]:
    entry = _resolve_like(name, entries, ())
    where = ("experiments", name)
    for key in REQUIRED:
        if key not in entry:
            raise UserError(f"{dotted(where)} lacks the key '{key}'; an experiment needs {', '.join(REQUIRED)}.")
    _check_member((*where, "domain"), entry["domain"], domain_names(), "domain")
    schema = load_schema(schema_path(entry["domain"]))
    sections = {key: entry[key] for key in SECTIONS if key in entry}
    _raise_first(schema, sections, where)
    entry.update(with_defaults(schema, sections))
    for place, sampling in enumerate(entry["sampling"]):
        same = entry["sampling"].index(sampling)
        if same < place:
            key = dotted((*where, "sampling", place))
            raise UserError(f"{key}: {_shown(sampling)} is the same as sampling[{same}]; leave one of them out.")
    domain = load_domain(entry["domain"])
    titles = [domain.sampling_title(sampling) for sampling in entry["sampling"]]
    for place, title in enumerate(titles):
        if (same := titles.index(title)) < place:
            raise UserError(
                f"{dotted((*where, 'sampling', place))}: tables call it '{title}', and sampling[{same}] as well; "
                "make them differ in what shapes the samples, or leave one of them out."
            )
    for regime in entry["regimes"]:
        _check_member((*where, "regimes"), regime, known_regimes, "regime")
    iterations = entry["iterations"]
    if isinstance(iterations, Mapping):
        for regime in iterations:
            _check_member((*where, "iterations"), regime, entry["regimes"], "regime of this experiment")
        for regime in entry["regimes"]:
            if regime not in iterations:
                raise UserError(
                    f"{dotted((*where, 'iterations'))}: {_shown(dict(iterations))} lacks the regime '{regime}'; "
                    f"give a number for each of {', '.join(entry['regimes'])}, or one for all."
                )
    for problem in load_domain(entry["domain"]).problems(entry):
        raise UserError(f"{dotted(where)}.{problem}")
    _check_training_sets(entry, known_regimes, where)
    if entry["training"].get(FIRST_ITERATION) is not None:
        entry["training"] = {**entry["training"], FIRST_ITERATION: _first_iteration(entry, schema, where)}
    return entry


def _check_training_sets(
    entry: Mapping[str, Any], known_regimes: Mapping[str, regimes.Regime], where: tuple[Any, ...]
) -> None:
    """Raise for a training set with fewer rows than a batch, where the domain knows that before anything is run."""
    limits = load_domain(entry["domain"]).known_rows(entry)
    if limits is None:
        return
    real, fewest = limits
    iterations = entry["iterations"]
    for name in entry["regimes"]:
        for iteration in range(2, 1 + (iterations[name] if isinstance(iterations, Mapping) else iterations)):
            rows = regimes.training_set(known_regimes[name], iteration).rows(real)
            if rows < fewest:
                raise UserError(
                    f"{dotted((*where, 'training', 'batch_size'))}: {fewest} is more than the {rows} rows that regime "
                    f"'{name}' trains on at iteration {iteration}; take a smaller batch or larger amounts."
                )


def _first_iteration(entry: Mapping[str, Any], schema: Mapping[str, Any], where: tuple[Any, ...]) -> dict[str, Any]:
    """What iteration 1 really has of its own: settings that are not those of the later iterations anyway."""
    known = _property(schema, "training")
    known = {**known, "properties": {key: of for key, of in known["properties"].items() if key != FIRST_ITERATION}}
    asked = entry["training"][FIRST_ITERATION]
    _raise_first(known, asked, (*where, "training", FIRST_ITERATION))
    filled = with_defaults(known, asked)
    own = {key: filled[key] for key in filled if key in asked and filled[key] != entry["training"][key]}
    for problem in load_domain(entry["domain"]).problems({**entry, "training": {**entry["training"], **own}}):
        raise UserError(f"{dotted(where)}.{problem.replace('training.', f'training.{FIRST_ITERATION}.', 1)}")
    return own


def _resolve_like(name: str, entries: Mapping[str, Any], seen: tuple[str, ...]) -> dict[str, Any]:
    """An experiment with everything that it takes over from the one it is like; sections are merged key by key."""
    entry = dict(entries[name])
    other = entry.pop("like", None)
    if other is None:
        return entry
    if other != name:
        _check_member(("experiments", name, "like"), other, [entry for entry in entries if entry != name], "experiment")
    if other == name or other in seen:
        raise UserError(f"experiments.{name}.like: '{other}' leads back to '{name}'; name an experiment that does not.")
    merged = _resolve_like(other, entries, (*seen, name))
    for key, value in entry.items():
        both = key in merged and isinstance(merged[key], Mapping) and isinstance(value, Mapping) and key in SECTIONS
        merged[key] = {**merged[key], **value} if both else value
    return merged


def _check_plain(value: Any, path: tuple[Any, ...], around: tuple[int, ...] = ()) -> None:
    """Raise for what YAML can hold and a config cannot: keys that are no text, numbers that are not finite, and what
    holds itself; `around` has the ids of what `value` stands in."""
    if id(value) in around:
        raise UserError(f"{dotted(path)}: it is an alias (*) of what it stands in; write out what is meant.")
    around = (*around, id(value))
    if isinstance(value, Mapping):
        for key, entry in value.items():
            if not isinstance(key, str):
                raise UserError(
                    f"{dotted(path) or 'the config'}: the key {_shown(key)} is not a text; put it in quotes."
                )
            _check_plain(entry, (*path, key), around)
    elif isinstance(value, list):
        for place, entry in enumerate(value):
            _check_plain(entry, (*path, place), around)
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{dotted(path)}: {_shown(value)} is not a finite number.")


def _check_regime_tables(tables: Mapping[str, Any]) -> None:
    for name in tables:
        if name in regimes.BUILT_IN:
            names = ", ".join(regimes.BUILT_IN)
            raise UserError(f"regimes.{name}: '{name}' is a built-in regime ({names}); give yours another name.")
        for place, line in enumerate(tables[name]["parts"]):
            amount = line["amount"]
            several = amount == "iteration" or max(amount if isinstance(amount, list) else [amount]) > 1
            if line["from"] == "real" and several:
                where = dotted(("regimes", name, "parts", place, "amount"))
                raise UserError(f"{where}: {amount} is not allowed: the real rows are there once, so at most 1.")
        _check_real_rows(name, tables[name])


def _check_real_rows(name: str, table: Mapping[str, Any]) -> None:
    """Raise where the lines of a table take more real rows together than there are; each alone does not."""
    real = [source for source in regimes.from_config(name, table).sources if source.origin == "real"]
    schedules = [len(source.amount) for source in real if isinstance(source.amount, tuple)]
    for iteration in range(2, 2 + max(schedules, default=1)):
        taken = [source.amount_at(iteration) for source in real]
        if sum(taken) > 1 + 1e-9:
            terms = " + ".join(f"{amount:g}" for amount in taken)
            raise UserError(
                f"{dotted(('regimes', name, 'parts'))}: the lines from real take {terms} at iteration {iteration}; "
                "the real rows are there once, so at most 1 in all."
            )


def _check_member(where: tuple[str, ...], value: str, allowed: Iterable[str], what: str) -> None:
    if value not in list(allowed):
        raise UserError(f"{dotted(where)}: unknown {what} '{value}'{_nearest(value, allowed)}")


def _nearest(value: str, allowed: Iterable[str]) -> str:
    names = list(allowed)
    lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(str(value).lower(), lower, n=1)
    hint = f"; did you mean '{lower[close[0]]}'?" if close else "."
    return f"{hint} Allowed: {', '.join(names) or 'none'}."


def dotted(path: Iterable[Any]) -> str:
    """A key's place as users write it: experiments.stories.sampling[0].temperature."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


@cache
def load_schema(path: Path) -> dict[str, Any]:
    """A schema file."""
    schema: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return schema


def with_defaults(schema: Mapping[str, Any], value: Any) -> Any:
    """`value` with the schema's defaults where a key is not said, and numbers of its type: 1 and 1.0 are one."""
    if isinstance(value, Mapping):
        known = schema.get("properties", {})
        filled = {key: with_defaults(_property(schema, key), entry) for key, entry in value.items()}
        for key, inner in known.items():
            if key not in filled and "default" in inner:
                filled[key] = with_defaults(inner, inner["default"])
        # In the schema's order, whatever the user's: Snakemake compares params as text.
        return {key: filled[key] for key in [*known, *filled] if key in filled}
    if isinstance(value, list):
        return [with_defaults(schema.get("items", {}), entry) for entry in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        kinds = _types(schema)
        return int(value) if "integer" in kinds else float(value) if "number" in kinds else value
    return value


def _types(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _property(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
    return inner if isinstance(inner, Mapping) else {}


def _raise_first(schema: Mapping[str, Any], value: Any, where: tuple[Any, ...]) -> None:
    errors = Draft202012Validator(schema).iter_errors(value)
    for error in sorted(errors, key=lambda error: [str(step) for step in error.absolute_path]):
        raise UserError(_message(_innermost(error), schema, where))


def _innermost(error: ValidationError) -> ValidationError:
    """Of the alternatives of `anyOf`, the one that fits but for a limit or an entry inside it."""
    fits = [branch for branch in error.context or [] if branch.path or branch.validator not in ("type", "const")]
    return fits[0] if fits else error


def check_against(schema: Mapping[str, Any], value: Any) -> None:
    """Raise `UserError` for the first thing in `value` that `schema` does not allow."""
    _check_plain(value, ())
    _raise_first(schema, value, ())


def _message(error: ValidationError, root: Mapping[str, Any], where: tuple[Any, ...]) -> str:
    path = tuple(error.absolute_path)
    key = dotted((*where, *path)) or "the config"
    rule, value, schema, limit = error.validator, error.instance, error.schema, error.validator_value
    described = schema.get("description") or _description(root, path)
    about = f" ({described.rstrip('.')})" if described else ""
    if rule == "additionalProperties":
        allowed = list(schema.get("properties", {}))
        unknown = next(name for name in value if name not in allowed)
        return f"{key}: unknown key '{unknown}'{_nearest(unknown, allowed)}"
    if rule == "required":
        missing = next(name for name in limit if name not in value)
        needed = _description(root, (*path, missing))
        return f"{key} lacks the key '{missing}'{f' ({needed.rstrip(chr(46))})' if needed else ''}."
    held = f"{key}: {_shown(value)}"
    if rule == "type":
        kinds = _types(schema)
        return f"{held} is not {' or '.join(TYPE_NAMES[kind] for kind in kinds)}{about}.{_number_hint(value, kinds)}"
    if rule == "enum":
        return f"{held} is not allowed{_nearest(str(value), map(str, limit))}"
    limits = {
        "minimum": "at least",
        "maximum": "at most",
        "exclusiveMinimum": "more than",
        "exclusiveMaximum": "less than",
    }
    if rule in limits:
        return f"{held} is not allowed: it must be {limits[rule]} {limit}{about}."
    if rule in ("minItems", "minProperties", "minLength"):
        return (
            f"{held} is not allowed: at least {limit} {'character' if rule == 'minLength' else 'entry'} needed{about}."
        )
    if rule == "uniqueItems":
        twice = next(entry for place, entry in enumerate(value) if entry in value[:place])
        return f"{held} is not allowed: {_shown(twice)} stands there twice{about}."
    if rule == "pattern":
        return f"{key}: '{value}' cannot be a name. Allowed: {described or limit}"
    if rule == "anyOf":
        kinds = [kind for branch in limit for kind in _types(branch)]
        return f"{held} is not allowed{about}.{_number_hint(value, kinds)}"
    return f"{held} is not allowed{about}: {error.message}"


def _description(schema: Mapping[str, Any], path: Iterable[Any]) -> str:
    """What the schema says about the place `path`, or else about the nearest one around it."""
    found = ""
    for step in path:
        schema = schema.get("items", {}) if isinstance(step, int) else _property(schema, step)
        found = schema.get("description", found)
    return found


def _shown(value: Any) -> str:
    """A value as a user would write it, in one line that is not too long."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()
    text = f"'{value}'" if isinstance(value, str) else text
    return text if len(text) <= 80 else f"{text[:77]}..."


def _number_hint(value: Any, kinds: Iterable[str]) -> str:
    """How to write a number that YAML read as a text, such as 5e-4."""
    if not (isinstance(value, str) and {"number", "integer"} & set(kinds) and _is_number(value)):
        return ""
    if isinstance(yaml.safe_load(value), str):
        number = repr(float(value))
        number = number if "." in number else number.replace("e", ".0e")
        return f" YAML reads {value} as a text; write {number}."
    return f" It is in quotes; write {value}."


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
