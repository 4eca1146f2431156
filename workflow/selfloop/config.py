"""Check a config before anything is built, and say what is wrong in one message that names key, value and what is allowed."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from selfloop import regimes
from selfloop.domains.base import domain_names, load_domain, schema_path
from selfloop.errors import UserError

SCHEMA = Path(__file__).parent.parent / "schemas" / "config.schema.yaml"
SECTIONS = ("data", "model", "training", "sampling")
REQUIRED = ("domain", "data", "regimes", "iterations", "seeds")

TYPE_NAMES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "array": "a list",
    "object": "a section (key: value)",
    "boolean": "true or false",
    "null": "null",
}


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with defaults filled in and `like` resolved.

    Raises:
        UserError: anything that is wrong, named by its key, with what it held and what is allowed.
    """
    schema = load_schema(SCHEMA)
    _raise_first(schema, config, ())
    checked = with_defaults(schema, config)
    _check_regime_tables(checked["regimes"])
    known = {**regimes.BUILT_IN, **checked["regimes"]}
    checked["experiments"] = {
        name: _experiment(name, config["experiments"], known) for name in config["experiments"]
    }
    return checked


def _experiment(name: str, entries: Mapping[str, Any], known_regimes: Iterable[str]) -> dict[str, Any]:
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
    for regime in entry["regimes"]:
        _check_member((*where, "regimes"), regime, known_regimes, "regime")
    iterations = entry["iterations"]
    if isinstance(iterations, Mapping):
        for regime in iterations:
            _check_member((*where, "iterations"), regime, entry["regimes"], "regime of this experiment")
        for regime in entry["regimes"]:
            if regime not in iterations:
                raise UserError(f"{dotted((*where, 'iterations'))} lacks the regime '{regime}'.")
    for problem in load_domain(entry["domain"]).problems(entry):
        raise UserError(f"{dotted(where)}.{problem}")
    return entry


def _resolve_like(name: str, entries: Mapping[str, Any], seen: tuple[str, ...]) -> dict[str, Any]:
    """An experiment with everything that it takes over from the one it is like; sections are merged key by key."""
    entry = dict(entries[name])
    other = entry.pop("like", None)
    if other is None:
        return entry
    _check_member(("experiments", name, "like"), other, entries, "experiment")
    if other == name or other in seen:
        raise UserError(f"experiments.{name}.like: '{other}' leads back to '{name}'; name an experiment that does not.")
    merged = _resolve_like(other, entries, (*seen, name))
    for key, value in entry.items():
        both = key in merged and isinstance(merged[key], Mapping) and isinstance(value, Mapping) and key in SECTIONS
        merged[key] = {**merged[key], **value} if both else value
    return merged


def _check_regime_tables(tables: Mapping[str, Any]) -> None:
    for name in tables:
        if name in regimes.BUILT_IN:
            raise UserError(f"regimes.{name}: '{name}' is a built-in regime; give yours another name.")


def _check_member(where: tuple[str, ...], value: str, allowed: Iterable[str], what: str) -> None:
    if value not in list(allowed):
        raise UserError(f"{dotted(where)}: unknown {what} '{value}'{_nearest(value, allowed)}")


def _nearest(value: str, allowed: Iterable[str]) -> str:
    names = list(allowed)
    close = difflib.get_close_matches(str(value), names, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    return f"{hint} Allowed: {', '.join(names)}."


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
    """`value` with the schema's defaults where a key is not said."""
    if isinstance(value, Mapping):
        filled = {key: with_defaults(_property(schema, key), entry) for key, entry in value.items()}
        for key, inner in schema.get("properties", {}).items():
            if key not in filled and "default" in inner:
                filled[key] = with_defaults(inner, inner["default"])
            elif key not in filled and inner.get("type") == "object" and key in schema.get("required", []):
                filled[key] = with_defaults(inner, {})
        return filled
    if isinstance(value, list):
        return [with_defaults(schema.get("items", {}), entry) for entry in value]
    return value


def _property(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
    return inner if isinstance(inner, Mapping) else {}


def _raise_first(schema: Mapping[str, Any], value: Any, where: tuple[Any, ...]) -> None:
    errors = sorted(_leaves(Draft202012Validator(schema).iter_errors(value)), key=lambda error: list(map(str, error.path)))
    for error in errors:
        raise UserError(_message(error, where))


def _leaves(errors: Iterable[ValidationError]) -> Iterator[ValidationError]:
    """Errors as they are; of alternatives (`anyOf`) the one about this value as a whole, not each branch."""
    yield from errors


def _message(error: ValidationError, where: tuple[Any, ...]) -> str:
    key = dotted((*where, *error.path)) or "the config"
    rule, value, schema = error.validator, error.instance, error.schema
    about = f" ({schema['description'].rstrip('.')})" if "description" in schema else ""
    if rule == "additionalProperties":
        allowed = list(schema.get("properties", {}))
        unknown = next(name for name in value if name not in allowed)
        return f"{key}: unknown key '{unknown}'{_nearest(unknown, allowed)}"
    if rule == "required":
        missing = next(name for name in error.validator_value if name not in value)
        inner = schema["properties"].get(missing, {}).get("description", "")
        return f"{key} lacks the key '{missing}'{f' ({inner.rstrip(chr(46))})' if inner else ''}."
    held = f"{key}: {value!r}"
    if rule == "type":
        allowed_types = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        hint = ""
        if isinstance(value, str) and {"number", "integer"} & set(allowed_types) and _is_number(value):
            hint = f" YAML reads {value} as a text; write {_plain_number(value)}."
        return f"{held} is not {' or '.join(TYPE_NAMES[kind] for kind in allowed_types)}{about}.{hint}"
    if rule == "enum":
        return f"{held} is not allowed{_nearest(str(value), map(str, error.validator_value))}"
    limits = {
        "minimum": "at least",
        "maximum": "at most",
        "exclusiveMinimum": "more than",
        "exclusiveMaximum": "less than",
    }
    if rule in limits:
        return f"{held} is not allowed: must be {limits[rule]} {error.validator_value}{about}."
    if rule in ("minItems", "minProperties", "minLength"):
        return f"{held} is not allowed: at least {error.validator_value} needed{about}."
    if rule == "uniqueItems":
        return f"{held} names something twice{about}."
    if rule == "pattern":
        return f"{key}: '{value}' is not a name that can be used: it must match {error.validator_value}."
    return f"{held} is not allowed{about}: {error.message}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _plain_number(text: str) -> str:
    number = float(text)
    return str(int(number)) if number.is_integer() and "e" not in text.lower() else format(number, "f").rstrip("0")
