"""The base of every config: frozen, strict, keyword-only, and helpful about typos.

A *step* (`DataGenerator`, `Trainer`, `Evaluator`, `Deployer`) is its config; results and parts of configs use the
same base, so that all of them round-trip through JSON.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from typing_extensions import Self

from soaptune.errors import ConfigError

__all__ = ["Config", "sentence", "summary"]


if TYPE_CHECKING:
    _Meta = type(BaseModel)
else:

    class _Meta(type(BaseModel)):
        """Turns Pydantic's error into ours when a config is made by calling its class.

        It is hidden from the type checker, which would otherwise lose the constructor's parameters.
        """

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().__call__(*args, **kwargs)
            except ValidationError as error:
                raise ConfigError(f"{cls.__name__}: {summary(error)}") from error


class Config(BaseModel, metaclass=_Meta):
    """A frozen Pydantic model that refuses unknown fields and says which known one was probably meant.

    Calling the class with values that are not allowed raises `soaptune.errors.ConfigError`, which is a
    `ValueError`.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, revalidate_instances="never"
    )

    @model_validator(mode="before")
    @classmethod
    def _did_you_mean(cls, data: object) -> object:
        given = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
        known = set(cls.model_fields) | {f.alias for f in cls.model_fields.values() if f.alias}
        unknown = [key for key in given if key not in known]
        if not unknown:
            return data  # pyright: ignore[reportUnknownVariableType]
        parts: list[str] = []
        for key in unknown:
            near = difflib.get_close_matches(str(key), sorted(known), n=1)
            parts.append(f"{key!r} (did you mean {near[0]!r}?)" if near else repr(key))
        raise PydanticCustomError(
            "unknown_field",
            "{model} has no field {names}; its fields are {fields}",
            {"model": cls.__name__, "names": ", ".join(parts), "fields": ", ".join(sorted(known))},
        )

    def replace(self, **changes: Any) -> Self:
        """Gives a copy with some fields changed, validated like a new object.

        Unlike Pydantic's ``model_copy(update=...)`` it validates what it is given. Fields that were not set stay
        unset, so that defaults which depend on other fields are computed anew.

        Args:
            **changes: New values by field name.

        Returns:
            The changed copy.

        Raises:
            ConfigError: A field is unknown or a value is not allowed.
        """
        values: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**{**values, **changes})


def summary(error: ValidationError) -> str:
    """All findings of a Pydantic error in one line, without the input values, which may be sensitive."""
    found = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(str(part) for part in e['loc']) or '(whole)'}: {sentence(e)}" for e in found)


def sentence(finding: ErrorDetails) -> str:
    """What one of Pydantic's findings says, without the words that it puts before those of our own validators."""
    prefix = {"value_error": "Value error, ", "assertion_error": "Assertion failed, "}.get(finding["type"], "")
    return finding["msg"].removeprefix(prefix)
