"""What a section of the config is: a frozen model whose fields carry type, limits, default and description.

Light, and on its own: the steps import it, so their code digests cover it.
"""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from functools import cache, cached_property
from typing import Annotated, ClassVar, Final, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, PydanticUndefined

T = TypeVar("T")
# Of what is drawn of the real data; `planning.study` puts each chain's own seed in place of PER_CHAIN.
PER_CHAIN: Final = "per-chain"
Reserve = Annotated[float, Field(ge=0)]  # a domain whose `data` has the key `reserve` has fresh rows for regimes
Start = Literal["scratch", "previous", "first"]  # what trainings from iteration 2 on start from
DataSeed = Annotated[int, Field(ge=0)] | Literal["per-chain"]


class Section(BaseModel):
    """A section of the config. The string below a field describes it, in messages, in the README and in the schema.

    Attributes:
        needs: by the value of the field `source`, the keys that have to be given.
        one_of: two keys of which one has to be given, for the schema.
        unsaid: fields that are left out of `plain` where they have their defaults; the others have them there.
        of_machine: fields that are left out in any case: they suit the machine, and change nothing else than it does.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", serialize_by_alias=True)

    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    one_of: ClassVar[tuple[str, ...]] = ()
    unsaid: ClassVar[frozenset[str]] = frozenset()
    of_machine: ClassVar[frozenset[str]] = frozenset()

    @cached_property
    def plain(self) -> dict[str, object]:
        """The section as JSON values in the order of its fields: what names of artifacts are digests of."""
        return self.model_dump(mode="json")

    def changed(self, **values: object) -> Self:
        """The section with other values of some fields, which are not checked."""
        copy = self.model_copy(update=values)
        copy.__dict__.pop("plain", None)  # kept of this one
        return copy

    def without(self, name: str) -> Self:
        """The section with a field's default, as if it were not given."""
        return self.model_construct(**{key: getattr(self, key) for key in self.model_fields_set - {name}})

    @model_serializer(mode="wrap")
    def _without_unsaid(self, serialize: SerializerFunctionWrapHandler) -> dict[str, object]:
        dumped: dict[str, object] = serialize(self)
        for name in self.unsaid:
            if getattr(self, name) == type(self).model_fields[name].default:
                dumped.pop(type(self).model_fields[name].alias or name, None)
        return {name: value for name, value in dumped.items() if name not in self.of_machine}

    @model_validator(mode="after")
    def _has_what_its_source_needs(self) -> Self:
        if not self.needs:
            return self  # pydantic takes long to find out that a section has no `source`
        source = getattr(self, "source", None)
        for key in self.needs.get(str(source), ()):
            if getattr(self, key) is None:
                given = key in self.model_fields_set
                raise PydanticCustomError("needed", "needed", {"key": key, "source": source, "given": given})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, object]:
        schema = handler(core_schema)
        own = handler.resolve_ref_schema(schema)
        for key, text in descriptions(cls).items():
            own["properties"][key]["description"] = text
        default = getattr(cls.model_fields.get("source"), "default", PydanticUndefined)
        said = {} if default is PydanticUndefined else {"required": ["source"]}
        own["allOf"] = [
            {
                "if": {"properties": {"source": {"const": source}}, **({} if source == default else said)},
                "then": {"required": list(keys)},
            }
            for source, keys in cls.needs.items()
        ]
        if cls.one_of:
            key, other = cls.one_of
            own["allOf"].append({"if": {"not": {"required": [other]}}, "then": {"required": [key]}})
        if not own["allOf"]:
            del own["allOf"]
        return schema


def first_of(paths: str | list[str] | None) -> str:
    """The first of `Paths` that a section needs with the source that it has."""
    assert paths
    return paths if isinstance(paths, str) else paths[0]


def given(value: T | None) -> T:
    """The value of a key that its section needs with the source that it has."""
    assert value is not None
    return value


@cache
def descriptions(section: type[Section]) -> dict[str, str]:
    """What the strings below the fields of a section say, by key; of an inherited field without one, the base's."""
    found: dict[str, str] = {}
    for cls in reversed(section.__mro__):
        if issubclass(cls, Section):
            body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
            assert isinstance(body, ast.ClassDef)
            for field, text in zip(body.body, body.body[1:], strict=False):
                match field, text:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(held))):
                        found[name] = " ".join(held.split())
    return {field.alias or name: found[name] for name, field in section.model_fields.items() if name in found}


def _distinct(values: list[T]) -> list[T]:
    seen: set[T] = set()
    for value in values:
        if value in seen:
            raise PydanticCustomError("repeated", "repeated", {"value": value})
        seen.add(value)
    return values


Distinct = Annotated[list[T], AfterValidator(_distinct), Field(json_schema_extra={"uniqueItems": True})]
Paths = Annotated[str, Field(min_length=1)] | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
