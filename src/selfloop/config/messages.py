"""What is wrong with a config, in one sentence: the key, what it held, what is allowed, and the nearest key."""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Any, TypeAlias

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from selfloop.config.section import Section

Path = tuple[str | int, ...]
Schema: TypeAlias = Mapping[str, Any]  # JSON's, nested

KINDS = {
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "array": "a list",
    "object": "a mapping (key: value)",
    "boolean": "true or false",
    "null": "null",
}
FOUND = 1_000  # problems among which the first is looked for: a long list may be wrong in each entry
SHOWN = 60  # names that a message lists at most
LIMITS = {
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
    "greater_than": ("gt", "more than"),
    "less_than": ("lt", "less than"),
}


def dotted(path: Iterable[str | int]) -> str:
    """A key's place as users write it: experiments.stories.sampling[0].temperature."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def nearest(value: object, allowed: Iterable[str]) -> str:
    """The end of a message: the allowed name that is meant, if one is near, and all of them."""
    names = list(allowed)
    value = str(value)[:100]
    lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(str(value).lower(), lower, n=1)
    hint = f"; did you mean '{lower[close[0]]}'?" if close else "."
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{hint} Allowed: {', '.join(names[:SHOWN]) or 'none'}{more}."


def shown(value: object) -> str:
    """A value as a user would write it, in one line that is not too long."""
    value = _beginning(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()
    text = f"'{value}'" if isinstance(value, str) else text
    return text if len(text) <= 80 else f"{text[:77]}..."


def _beginning(value: object, deep: int = 4) -> object:
    """What is shown of a value at most: its beginning."""
    if isinstance(value, str):
        return value[:100]
    if isinstance(value, Mapping):
        return {_beginning(key): _beginning(value[key], deep - 1) for key in list(value)[:40]} if deep else {}
    if isinstance(value, list | tuple):
        return [_beginning(entry, deep - 1) for entry in value[:40]] if deep else []
    return value


def first_problem(error: ValidationError, model: type[Section], value: object, where: Path = ()) -> str:
    """The first of the problems, by its key.

    Args:
        error: what pydantic found.
        model: what `value` was to be.
        value: as the user gave it.
        where: the place of `value` in the config.
    """
    schema = model.model_json_schema()
    # Of one place, a key that is not known is said before one that is lacking: it may be the same, misspelt.
    problems = sorted(_problems(error, value), key=lambda one: ([*map(str, one[0])], one[1]["type"] == "missing"))
    first = problems[0][0]
    same = [details for path, details in problems if path == first]
    # Of the alternatives of a union, the one that fits but for a limit or an entry inside it.
    within = [(path, details) for path, details in problems if path[: len(first)] == first and not _of_kind(details)]
    path, details = within[0] if within else (first, same[0])
    return _message(path, details, schema, value, where)


def _of_kind(details: ErrorDetails) -> bool:
    return details["type"].endswith("_type") or details["type"] == "literal_error"


def _problems(error: ValidationError, value: object) -> Iterator[tuple[Path, ErrorDetails]]:
    """Each problem with its place in `value`: of pydantic's, without the names of a union's alternatives."""
    for details in error.errors(include_url=False)[:FOUND]:
        path: list[str | int] = []
        held: object = value
        for step in details["loc"]:
            if (isinstance(held, Mapping) and step in held) or (isinstance(held, list) and isinstance(step, int)):
                held = _inside(held, step)
                path.append(step)
        if details["type"] in ("extra_forbidden", "name"):
            path.pop()
        yield tuple(path), details


def _message(path: Path, details: ErrorDetails, schema: Schema, value: object, where: Path) -> str:
    rule, context = details["type"], details.get("ctx", {})
    key = dotted((*where, *path)) or "the config"
    own = _at(schema, path)
    if rule == "extra_forbidden":
        unknown = details["loc"][-1]
        return f"{key}: unknown key {shown(unknown)}{nearest(unknown, _keys(own))}"
    if rule == "missing" or (rule == "needed" and not context["given"]):
        missing = str(context.get("key", details["loc"][-1]))
        return f"{key} lacks the key '{missing}'{_about(schema, (*path, missing))}."
    if rule == "name":
        return f"{key}: '{details['loc'][-2]}' cannot be a name. Allowed: {context['allowed']}"
    if rule == "needed":
        place = (*path, context["key"])
        of_source = f"is not allowed with source: {context['source']}"
        return f"{dotted((*where, *place))}: null {of_source}{_about(schema, place)}."
    held = reduce(_inside, path, value)
    if rule == "one of":
        given = {name: entry for name in context["keys"] if (entry := _inside(held, name)) is not None}
        found = " and ".join(f"{name} {shown(entry)}" for name, entry in given.items()) + " are both given"
        return f"{key}: {found if given else 'none is given'}; give one of {' and '.join(context['keys'])}."
    told, about = f"{key}: {shown(held)}", _about(schema, path)
    if rule in LIMITS:
        name, words = LIMITS[rule]
        limit = context[name]
        limit = int(limit) if isinstance(limit, float) and limit.is_integer() else limit
        return f"{told} is not allowed: it must be {words} {limit}{about}."
    if rule in ("too_short", "string_too_short"):
        what = "character" if isinstance(held, str) else "entry"
        return f"{told} is not allowed: at least {context['min_length']} {what} needed{about}."
    if rule == "too_long":
        return f"{told} is not allowed: at most {context['max_length']} entries{about}."
    if rule == "repeated":
        return f"{told} is not allowed: {shown(context['value'])} is in it twice{about}."
    values = [entry for one in own for entry in one.get("enum", [one["const"]] if "const" in one else [])]
    kinds = list(dict.fromkeys(kind for one in own if "const" not in one for kind in _kinds(one)))
    if rule == "literal_error" and len(values) and not set(kinds) - {"string", "boolean", "null"}:
        return f"{told} is not allowed{nearest(held, (str(entry) for entry in values))}"
    if values:
        return f"{told} is not allowed{about}.{_number_hint(held, kinds)}"
    return f"{told} is not {' or '.join(KINDS[kind] for kind in kinds)}{about}.{_number_hint(held, kinds)}"


def _inside(held: object, step: str | int) -> object:
    """The entry of a list or a mapping."""
    if isinstance(held, list) and isinstance(step, int):
        return held[step]
    return held.get(step) if isinstance(held, Mapping) else None


def _at(schema: Schema, path: Path) -> list[Schema]:
    """The schemas of the place `path`: one, or those of its alternatives."""
    found = _alternatives(schema, schema)
    for step in path:
        inner: list[Schema] = []
        for one in found:
            if isinstance(step, int):
                below = one.get("items")
            else:
                below = one.get("properties", {}).get(step, one.get("additionalProperties"))
            inner += _alternatives(below, schema) if isinstance(below, Mapping) else []
        found = inner
    return found


def _alternatives(schema: Schema, root: Schema) -> list[Schema]:
    if "$ref" in schema:
        referred = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        schema = {**referred, **{key: schema[key] for key in schema if key != "$ref"}}
    if "anyOf" not in schema:
        return [schema]
    said = {"description": schema["description"]} if "description" in schema else {}
    return [one for branch in schema["anyOf"] for one in _alternatives({**branch, **said}, root)]


def _keys(schemas: Iterable[Schema]) -> list[str]:
    return [key for one in schemas for key in one.get("properties", {})]


def _kinds(schema: Schema) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _about(schema: Schema, path: Path) -> str:
    """What is said of the place `path`, or of the nearest one around it: the first sentence, in brackets."""
    for length in range(len(path), 0, -1):
        for one in _at(schema, path[:length]):
            if text := one.get("description"):
                sentence = re.split(r"(?<=[.)])\s+(?=[A-Z`\d])", " ".join(text.split()))[0]
                return f" ({sentence.rstrip('.')})"
    return ""


def _number_hint(value: object, kinds: Iterable[str]) -> str:
    """How to write a number that YAML reads as a string, such as 5e-4."""
    if not (isinstance(value, str) and {"number", "integer"} & set(kinds) and _is_number(value)):
        return ""
    if isinstance(yaml.safe_load(value), str):
        number = repr(float(value))
        number = number if "." in number else number.replace("e", ".0e")
        return f" YAML reads {value} as a string; write {number}."
    return f" It is in quotes; write {value}."


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
