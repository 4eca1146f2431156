"""`selfloop schema`: what configs may hold, as a JSON schema for editors and as the tables of config/README.md."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, get_args

from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema

from selfloop.config import models
from selfloop.config.filters import Filter
from selfloop.config.section import Section, descriptions
from selfloop.domains.protocol import domain_names, load_domain
from selfloop.planning.grids import NUMBERS

Schema: TypeAlias = dict[str, Any]  # JSON's, nested
LIKE = ".like"  # the end of the name of a definition that requires no key, since `like` may give it
TABLE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def json_schema() -> str:
    """The JSON schema of a config, as text."""
    domains = {name: load_domain(name).experiment for name in domain_names()}
    wanted = [(model, "validation") for model in (models.Study, *domains.values())]
    references, together = models_json_schema(wanted)  # type: ignore[arg-type]
    definitions: dict[str, Schema] = {name: _without_titles(one) for name, one in together["$defs"].items()}
    definitions |= {name + LIKE: _relaxed(one) for name, one in definitions.items()}
    of = {name: references[model, "validation"]["$ref"] for name, model in domains.items()}
    study = definitions.pop(references[models.Study, "validation"]["$ref"].rsplit("/", 1)[-1])
    by_domain = [
        {"if": {"properties": {"domain": {"const": name}}}, "then": {"$ref": reference}}
        for name, reference in of.items()
    ]
    domain = {"properties": {"domain": {"enum": list(of)}}, "required": ["domain"]}
    study["properties"]["experiments"]["additionalProperties"] = {
        "if": {"required": ["like"]},
        "then": {"anyOf": [{"$ref": reference + LIKE} for reference in of.values()]},
        "else": {**domain, "type": "object", "allOf": by_domain},
    }
    _allow_variables(definitions)
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "selfloop study"}
    used = {name: definitions[name] for name in sorted(_used(study, definitions))}
    return _lines({**dialect, **study}).removesuffix("\n}") + f',\n"$defs": {_lines(used)}\n}}\n'


def _allow_variables(definitions: dict[str, Schema]) -> None:
    """Let a grid's variable stand in place of the numbers of a regime; grids are resolved before they are checked."""
    places = [(definitions["Part"], NUMBERS), (definitions["Regime"], ("budget",))]
    for fields, name in ((section["properties"], name) for section, names in places for name in names):
        field: Schema = fields[name]
        alternatives = field.pop("anyOf", None)
        if alternatives is None:
            alternatives = [{key: field.pop(key) for key in ("type", "exclusiveMinimum") if key in field}]
        variable = {"type": "string", "pattern": "^[a-z]+$"}
        lists = [{**one, "items": {"anyOf": [one["items"], variable]}} for one in alternatives if "items" in one]
        fields[name] = {"anyOf": [*(one for one in alternatives if "items" not in one), *lists, variable], **field}


def _lines(values: Schema) -> str:
    """A JSON object with a line for each of its keys."""
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(one)}" for key, one in values.items()) + "\n}"


def _walked(schema: Schema, change: Callable[[Schema], None]) -> Schema:
    """A copy of a schema in which `change` has been done to every mapping."""

    def inner(held: object) -> object:
        if isinstance(held, list):
            return [inner(one) for one in held]
        return _walked(held, change) if isinstance(held, dict) else held

    found = {key: inner(one) for key, one in schema.items()}
    change(found)
    return found


def _without_titles(schema: Schema) -> Schema:
    def change(one: Schema) -> None:
        if isinstance(one.get("title"), str):
            del one["title"]

    return _walked(schema, change)


def _relaxed(schema: Schema) -> Schema:
    def change(one: Schema) -> None:
        if isinstance(one.get("required"), list):
            del one["required"]
        one.pop("allOf", None)  # what a source needs
        if "$ref" in one:
            one["$ref"] += LIKE

    return _walked(schema, change)


def _used(schema: object, definitions: dict[str, Schema]) -> set[str]:
    """The names of all definitions that a schema refers to, directly or not."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        for name in re.findall(r'"#/\$defs/([^"]+)"', json.dumps(waiting.pop())):
            if name not in found:
                found.add(name)
                waiting.append(definitions[name])
    return found


def with_tables(readme: str) -> str:
    """The text of config/README.md with its tables as the sections declare them.

    A table stands between `<!-- table: NAME -->` and `<!-- end -->`. A domain of which there is none gets a chapter.

    Raises:
        KeyError: there is no table of a name.
    """
    tables = dict(_tables())
    readme += "".join(_chapter(name, tables) for name in domain_names() if f"<!-- table: {name}." not in readme)
    head = "\n| key | default | meaning |\n|---|---|---|\n"
    return TABLE.sub(lambda found: found[1] + head + "".join(tables[found[2]]) + "\n" + found[3], readme)


def _chapter(domain: str, tables: Mapping[str, Sequence[str]]) -> str:
    """The headings of a domain, with places for its tables."""
    keys = [name.partition(".")[2] for name, rows in tables.items() if name.startswith(f"{domain}.") and rows]
    sections = (f"### `{key}`\n\n<!-- table: {domain}.{key} -->\n<!-- end -->\n" for key in keys)
    return "\n".join([f"\n## Domain `{domain}`\n\n{load_domain(domain).title}.\n", *sections])


def _tables() -> Iterator[tuple[str, list[str]]]:
    yield "experiments", _of_experiments()
    yield "regimes", list(_rows(models.Regime))
    yield "filters", list(_rows(Filter))
    shared = {
        key: section for key, section in _sections(models.Study) if key not in ("experiments", "regimes", "filters")
    }
    yield "shared", [row for key, section in shared.items() for row in _rows(section, key)]
    for domain in domain_names():
        for key, section in _sections(load_domain(domain).experiment):
            yield f"{domain}.{key}", list(_rows(section))


def _of_experiments() -> list[str]:
    """What all domains have, and what only some have."""
    found: dict[str, str] = {}
    for domain in domain_names():
        experiment: type[models.Experiment] = load_domain(domain).experiment
        for name, field in experiment.model_fields.items():
            default = "the domain's" if isinstance(field.default, Section | list) else _default(field)
            if name not in found or default != "required":  # a key has a default where any domain gives one
                found[name] = _row(name, default, descriptions(experiment)[name])
    return [found[name] for name in dict.fromkeys([*models.Experiment.model_fields, *found])]


def _sections(section: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    """The sections that the fields of a section hold: one, a list or a mapping of them, or one or null."""
    for name, field in section.model_fields.items():
        for inner in _within(field.annotation):
            yield field.alias or name, inner


def _within(annotation: object) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in get_args(annotation):
        yield from _within(inner)


def _rows(section: type[Section], around: str = "") -> Iterator[str]:
    needed = {key: [source for source, keys in section.needs.items() if key in keys] for key in section.model_fields}
    inner = dict(_sections(section))
    for name, field in section.model_fields.items():
        key = field.alias or name
        dotted = f"{around}.{key}" if around else key
        needs = needed[name] if field.default is None else []
        default = f"required for {', '.join(needs)}" if needs else _default(field)
        yield _row(dotted, default, descriptions(section)[key])
        if key in inner:
            yield from _rows(inner[key], dotted)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, list):
        return ", ".join("its defaults" if isinstance(one, Section) else str(one) for one in value)
    return "none" if value == {} else "null" if value is None else json.dumps(value).strip('"')


def _row(key: str, default: str, meaning: str) -> str:
    cells = (f"`{key}`", f"`{default}`" if "<" in default else default, meaning)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"
