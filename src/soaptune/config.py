"""The base of every config: frozen, strict, keyword-only, and helpful about names.

A *step* (`DataGenerator`, `Trainer`, `Evaluator`, `Deployer`) is its config; results and parts of configs use the
same base, so that all of them round-trip through JSON.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, TypeAlias, cast, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from typing_extensions import Self

from soaptune.errors import ConfigError

__all__ = ["KNOWN_TOKENS", "Config", "OtherName", "TokenVariable", "is_token", "merged", "sentence", "summary"]

KNOWN_TOKENS: dict[str, tuple[tuple[str, ...], str]] = {
    "a Hugging Face token": (("hf_", "api_org_"), r"\b(?:hf_|api_org_)[A-Za-z0-9]{16,}"),
    "an API key of OpenAI, Anthropic or a service like them": (
        ("sk-", "sk_", "gsk", "xai", "nvapi", "r8_", "r8-"),
        r"\b(?:sk|gsk|xai|nvapi|r8)[-_][A-Za-z0-9._-]{20,}",
    ),
    "a GitHub token": (
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"\b(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{20,}",
    ),
    "a GitLab token": (("glpat-", "gldt-", "glrt-"), r"\bgl(?:pat|dt|rt)-[A-Za-z0-9_-]{20,}"),
    "a JSON Web Token": (("eyJ",), r"\beyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?"),
    "an AWS access key": (("AKIA", "ASIA", "ABIA", "ACCA"), r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    "a Google API key": (
        ("AIza", "ya29.", "GOCSPX-"),
        r"\b(?:AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{28})",
    ),
    "an Azure key": (
        ("AccountKey=", "SharedAccessKey=", "Q~"),
        r"\b(?:AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{40,}={0,2}|\b[\w.~-]{3}\dQ~[\w.~-]{31,34}",
    ),
    "an Azure signature": (("sig=",), r"[?&]sig=[A-Za-z0-9%]{40,}"),
    "a Slack token": (
        ("xox", "hooks.slack.com"),
        r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/T\w+/B\w+/\w+",
    ),
    "a Stripe key": (("k_live_", "k_test_"), r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{20,}"),
    "a PyPI token": (("pypi-AgE",), r"\bpypi-AgE[A-Za-z0-9_-]{50,}"),
    "an npm token": (("npm_",), r"\bnpm_[A-Za-z0-9]{36}"),
    "a Databricks token": (("dapi",), r"\bdapi[0-9a-f]{32}"),
    "a SendGrid key": (("SG.",), r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    "a Vault token": (("hvs.", "hvb."), r"\bhv[bs]\.[A-Za-z0-9_-]{24,}"),
}
"""The forms of tokens that can be told by their looks, by what a person calls them: texts of which each such token has
one, which are quickly looked for, and the regular expression."""

_TOKEN = re.compile(
    "|".join([*(form for _, form in KNOWN_TOKENS.values()), r"(hf_|sk-|ghp_|github_pat_|eyJ)[A-Za-z0-9._-]{16,}"])
)
"""The same where a name is expected: there less is enough."""


def is_token(text: str) -> bool:
    """Whether a text looks like a token itself, where the name of one is expected.

    Args:
        text: What was given.
    """
    return _TOKEN.fullmatch(text) is not None


def _names_a_variable(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value) or is_token(value):
        raise ValueError(
            "give the name of the environment variable that holds the token (such as 'HF_TOKEN'), not the token"
        )
    return value


TokenVariable: TypeAlias = Annotated[str, AfterValidator(_names_a_variable)]
"""The *name* of the environment variable that holds a token. A token itself is refused: configs are written down."""


class OtherName(NamedTuple):
    """Where a field is found that other libraries call by another name."""

    path: str
    """The field, as a dotted path from the class that lists the name."""
    note: str = ""
    """What differs, as a sentence; empty where only the name does."""


if TYPE_CHECKING:
    _Meta = type(BaseModel)
else:

    class _Meta(type(BaseModel)):
        """Turns Pydantic's error into ours when a config is made by calling its class.

        It is hidden from the type checker, which would otherwise lose the constructor's parameters.
        """

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if args:
                first = next(iter(cls.model_fields), None)
                example = f": {cls.__name__}({first}=...)" if first else ""
                raise ConfigError(f"{cls.__name__} takes its values by name{example}")
            with _our_errors(cls):
                return super().__call__(**kwargs)


class Config(BaseModel, metaclass=_Meta):
    """A frozen Pydantic model that refuses unknown fields and says which known one was probably meant.

    Values that are not allowed raise `soaptune.errors.ConfigError`, which is a `ValueError`, whether they come by
    calling the class, from a mapping (``model_validate``) or from JSON (``model_validate_json``).
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, revalidate_instances="never"
    )

    other_names: ClassVar[Mapping[str, OtherName]] = {}
    """What other libraries call the fields of this class, for the answer to an unknown name."""

    if not TYPE_CHECKING:
        # Hidden from the type checker, so that Pydantic's own signatures hold.

        @classmethod
        def model_validate(cls, *args: Any, **kwargs: Any) -> Any:
            """Pydantic's own, with our error."""
            with _our_errors(cls):
                return super().model_validate(*args, **kwargs)

        @classmethod
        def model_validate_json(cls, *args: Any, **kwargs: Any) -> Any:
            """Pydantic's own, with our error."""
            with _our_errors(cls):
                return super().model_validate_json(*args, **kwargs)

    @model_validator(mode="before")
    @classmethod
    def _did_you_mean(cls, data: object) -> object:
        given = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
        known = set(cls.model_fields) | {f.alias for f in cls.model_fields.values() if f.alias}
        unknown = [key for key in given if key not in known]
        if not unknown:
            return data  # pyright: ignore[reportUnknownVariableType]
        answers = {key: _suggestion(str(key), cls) for key in unknown}
        raise PydanticCustomError(
            "unknown_field",
            "{model} has no field {names}{fields}",
            {
                "model": cls.__name__,
                "names": ", ".join(f"{key!r}{answer}" for key, answer in answers.items()),
                "fields": "" if all(answers.values()) else f"; its fields are {', '.join(sorted(known))}",
            },
        )

    def replace(self, **changes: Any) -> Self:
        """Gives a copy with some fields changed, validated like a new object.

        Unlike Pydantic's ``model_copy(update=...)`` it validates what it is given. Fields that were not set stay
        unset, so that defaults which depend on other fields are computed anew. A group of fields that is given as a
        mapping is merged with the one that is there: ``spec.replace(optimizer={"learning_rate": 1e-4})`` keeps the
        optimizer's other values.

        Args:
            **changes: New values by field name.

        Returns:
            The changed copy.

        Raises:
            ConfigError: A field is unknown or a value is not allowed.
        """
        return type(self)(**merged(self, changes))


def merged(config: Config, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values that were set in a config, with changes; a mapping given for a group changes the group's own values.

    Args:
        config: The config.
        changes: New values by field name.
    """
    values: dict[str, Any] = {name: getattr(config, name) for name in config.model_fields_set}
    return {**values, **{name: _changed(getattr(config, name, None), change) for name, change in changes.items()}}


def _changed(current: object, change: object) -> object:
    if not isinstance(current, Config) or not isinstance(change, Mapping):
        return change
    given = cast("Mapping[str, Any]", change)
    tags = {name: getattr(current, name) for name, field in type(current).model_fields.items() if _is_tag(field)}
    if any(given.get(name, tag) != tag for name, tag in tags.items()):
        return given  # another member of a union, which shares no values with this one
    return {**tags, **merged(current, given)}


def _is_tag(field: Any) -> bool:
    """Whether a field can have one value only, and so says which member of a union an object is."""
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def _suggestion(name: str, cls: type[Config]) -> str:
    """`` (did you mean 'optimizer.learning_rate'?)`` for a name that is not a field; empty when nothing is near."""
    places: dict[str, list[OtherName]] = {}
    for known, place in _places(cls):
        places.setdefault(known, []).append(place)
    # Of the many names that others have one is soon a little like any name: it must be more like this one than ours.
    near = difflib.get_close_matches(name, cls.model_fields, n=1) or difflib.get_close_matches(name, places, 1, 0.75)
    own = [cls.other_names[name]] if name in cls.other_names else []
    meant = own or list(dict.fromkeys(places[name] if name in places else places[near[0]] if near else ()))[:3]
    if not meant:
        return ""
    answer = f"did you mean {' or '.join(repr(place.path) for place in meant)}?"
    group, _, field = meant[0].path.partition(".")
    if field and len(meant) == 1 and "." not in field:
        answer += f" Write {group}={{{field!r}: ...}}."
    return f" ({' '.join([answer, *(place.note for place in meant if place.note)])})"


def _places(cls: type[Config], *, above: tuple[type[Config], ...] = ()) -> Iterator[tuple[str, OtherName]]:
    """All names by which something in a config is known, ours and those of others, the nearest first."""
    for name in cls.model_fields:
        yield name, OtherName(name)
    yield from cls.other_names.items()
    for name, field in cls.model_fields.items():
        for group in _groups(field.annotation):
            if group in above or group is cls:
                continue
            for known, place in _places(group, above=(*above, cls)):
                yield known, OtherName(f"{name}.{place.path}", place.note)


def _groups(annotation: Any) -> Iterator[type[Config]]:
    """The configs in a field's type, such as the one in ``LoraOptions | None``."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    for part in get_args(annotation):
        yield from _groups(part)


@contextlib.contextmanager
def _our_errors(cls: type[Config]) -> Generator[None]:
    try:
        yield
    except ValidationError as error:
        found = summary(error)
        named = found.startswith(f"{cls.__name__} has no field")
        raise ConfigError(found if named else f"{cls.__name__}: {found}") from error


def summary(error: ValidationError) -> str:
    """All findings of a Pydantic error in one line, without the input values, which may be sensitive."""
    found = error.errors(include_url=False, include_input=False)
    places = (".".join(str(part) for part in finding["loc"]) for finding in found)
    return "; ".join(
        f"{place}: {_for_python(f)}" if place else _for_python(f) for place, f in zip(places, found, strict=True)
    )


def sentence(finding: ErrorDetails) -> str:
    """What one of Pydantic's findings says, without the words that it puts before those of our own validators."""
    prefix = {"value_error": "Value error, ", "assertion_error": "Assertion failed, "}.get(finding["type"], "")
    return finding["msg"].removeprefix(prefix)


def _for_python(finding: ErrorDetails) -> str:
    """The same for somebody who writes Python: what to write in place of what was given."""
    kind, context = finding["type"], finding.get("ctx", {})
    if kind == "model_type":
        name = str(context["class_name"])
        return f"{'an' if name[0] in 'AEIOU' else 'a'} {name} is expected; write {name}(...)"
    if kind == "union_tag_invalid":
        kinds = str(context["expected_tags"])
        near = difflib.get_close_matches(str(context["tag"]), [each.strip("' ") for each in kinds.split(",")], n=1)
        return (
            f"there is no kind {context['tag']!r}{f' (did you mean {near[0]!r}?)' if near else ''}; there are {kinds}"
        )
    if kind == "union_tag_not_found":
        return "an object that says its kind is expected, and this says none"
    plain = {
        "tuple_type": 'a list is expected, such as ["a", "b"]',
        "dict_type": "a mapping is expected, such as {...}",
    }
    return plain.get(kind, sentence(finding))
