"""`Task`: what the model must learn, as prompts, an output class and a rubric."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import CoreSchema, core_schema
from typing_extensions import Unpack

from soaptune.errors import AnswerError, ConfigError, DataError, Violation
from soaptune.tasks import checks, parsing, rendering
from soaptune.tasks.canonical import jsonable
from soaptune.tasks.hooks import Hooks, given_hooks
from soaptune.tasks.schema import answer_schema
from soaptune.tasks.spec import TaskSpec, not_a_task
from soaptune.tasks.validation import Fault, names_of

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

__all__ = ["Task"]

OutT = TypeVar("OutT")
ModelT = TypeVar("ModelT", bound=BaseModel)


class Task(Generic[OutT]):
    """What a model must learn: from the input fields of a row to a typed output, written as JSON.

    A task is frozen and equal to another one of the same content, class or not: into a job it travels as its `spec`,
    pure data, and works there as `Task.from_spec` without the class, so the class may be defined in a script or in a
    notebook. In a config it is saved as its spec; `bind` gives the class back.

        class Booking(pydantic.BaseModel):
            people: int
            day: str

        task = Task(
            name="bookings",
            system_prompt="Answer with a JSON object with the keys people and day.",
            user_template="Request: {request}",
            output=Booking,
            rubric={"people": "The number of people.", "day": "The day as the request says it."},
        )
        task.parse('{"people": 2, "day": "Friday"}').people  # 2

    Args:
        name: The task's name, as manifests and reports show it.
        system_prompt: The system message, taken as it is (no placeholders); empty for none.
        user_template: The user message with a ``{field}`` for each input field; ``{{`` and ``}}`` are braces.
        output: A Pydantic model; its fields are the keys of the answer, in this order.
        rubric: For each output field what makes a value of it good, for judges.
        **hooks: What the task brings along as code, each as an import path or None. ``generator``: the class that makes
            examples from templates. ``lexicon``: a function without arguments that gives the terms which an answer
            must not invent; an evaluation looks for them beside the facts of the data.

    Raises:
        ConfigError: ``output`` is not a Pydantic model, its JSON Schema cannot be made, or there is no hook of a name.
            All else is left to `check`.
    """

    name: str
    system_prompt: str
    user_template: str
    rubric: dict[str, str]
    hooks: dict[str, str]
    named_hooks: frozenset[str]
    """The hooks that were named in this program or its config; the others came with a spec out of a file."""
    _model: type[BaseModel] | None
    _schema: dict[str, Any]

    def __init__(
        self: Task[ModelT],
        *,
        name: str,
        system_prompt: str,
        user_template: str,
        output: type[ModelT],
        rubric: Mapping[str, str],
        **hooks: Unpack[Hooks],
    ) -> None:
        self.__dict__.update(
            name=name,
            system_prompt=system_prompt,
            user_template=user_template,
            rubric=dict(rubric),
            hooks=_hooks(hooks),
            named_hooks=frozenset(_hooks(hooks)),
            _model=output,
            _schema=_schema_of(output),
        )

    @classmethod
    def from_spec(cls, spec: TaskSpec, **hooks: Unpack[Hooks]) -> Task[dict[str, Any]]:
        """Makes a task from pure data, as a job does.

        Args:
            spec: What `spec` of another task gave.
            **hooks: Hooks in place of the spec's own, as `Task` takes them.

        Returns:
            A task whose output is a mapping of its fields, validated with jsonschema.
        """
        task = cast("Task[dict[str, Any]]", object.__new__(Task))
        spec = spec.replace(hooks={**spec.hooks, **_hooks(hooks)}) if hooks else spec
        parts = {name: getattr(spec, name) for name in ("name", "system_prompt", "user_template", "rubric", "hooks")}
        named = frozenset(_hooks(hooks))
        task.__dict__.update(**parts, named_hooks=named, _model=None, _schema=spec.output_schema, _spec=spec)
        return task

    def bind(self, output: type[ModelT]) -> Task[ModelT]:
        """Gives a task that came from a spec its class again.

        Args:
            output: The Pydantic model that the task was defined with, or one that describes the same answers.

        Returns:
            The same task with typed output.

        Raises:
            ConfigError: The model describes other answers than the task's.
        """
        # As text, because the order of the fields counts.
        if json.dumps(_schema_of(output)) != json.dumps(self._schema):
            raise ConfigError(f"{output.__name__} does not describe the answers of the task {self.name!r}.")
        task = Task(
            name=self.name,
            system_prompt=self.system_prompt,
            user_template=self.user_template,
            output=output,
            rubric=self.rubric,
            **cast("Hooks", self.hooks),
        )
        task.__dict__["named_hooks"] = self.named_hooks
        return task

    @property
    def output(self) -> type[OutT]:
        """The output's class; ``dict`` for a task that came from a spec."""
        return cast("type[OutT]", self._model or dict)

    @property
    def input_fields(self) -> tuple[str, ...]:
        """The fields that the user template is filled with, in its order."""
        return rendering.placeholders(self.user_template)[0]

    @property
    def output_fields(self) -> tuple[str, ...]:
        """The keys of the answer, in the order in which the model writes them."""
        return tuple(self._schema.get("properties", {}))

    def schema(self) -> dict[str, Any]:
        """The JSON Schema that an answer must follow, closed to other fields at every level (a copy)."""
        return cast("dict[str, Any]", json.loads(json.dumps(self._schema)))

    def spec(self) -> TaskSpec:
        """The task as pure data.

        Raises:
            ConfigError: The task cannot work; `check` lists all that is wrong with it.
        """
        return self._spec

    def messages(self, inputs: Mapping[str, Any]) -> list[rendering.Message]:
        """The conversation up to the answer; see `soaptune.tasks.rendering.messages`."""
        return rendering.messages(self.spec(), inputs)

    def answer(self, outputs: Mapping[str, Any] | OutT) -> str:
        """The JSON text that the model must write; see `soaptune.tasks.rendering.answer`.

        With the class, its own validators are asked too.
        """
        text = rendering.answer(self.spec(), cast("Mapping[str, Any] | BaseModel", outputs))
        if self._model is None:
            return text
        try:
            output = self.parse(text)
        except AnswerError as error:
            problem = DataError(f"The outputs are no valid answer of the task {self.name!r}. {error}")
        else:
            return rendering.answer(self.spec(), cast("BaseModel", output))
        raise problem

    def outputs(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The output of a dataset's row, decoded, as `answer` takes it; see `soaptune.tasks.spec.TaskSpec.outputs`."""
        return self.spec().outputs(row)

    def normalise(self, row: Mapping[str, Any]) -> dict[str, str]:
        """The output of a dataset's row as the task's class has it, stored again.

        Args:
            row: A row whose output fields are stored as in a dataset, and fit the schema.

        Returns:
            The output fields as a dataset stores them, with what the class's validators change.

        Raises:
            AnswerError: The class refuses the output.
        """
        output = self.parse(json.dumps(self.outputs(row), ensure_ascii=False))
        return self.spec().stored(jsonable(output))

    def parse(self, text: str) -> OutT:
        """Reads a model's answer.

        The JSON Schema decides first, with the class or without it, so both give the same code; the class then checks
        what a schema cannot express (its own validators, formats), in Pydantic's strict mode.

        Args:
            text: What the model wrote, and nothing else.

        Returns:
            The output: an instance of the task's class, or a mapping of its fields for a task that came from a spec.

        Raises:
            AnswerError: Its ``code`` is one of `soaptune.tasks.parsing.CODES`:
                ``"empty"``: nothing but white space;
                ``"fenced"``: it begins with a Markdown code fence;
                ``"surrounding-text"``: there is text before or after a JSON object;
                ``"not-json"``: no JSON, with NaN or an infinity, cut off, or nested more than 32 deep;
                ``"not-object"``: JSON, but not an object;
                ``"duplicate-field"``: a key stands twice in one object;
                ``"missing-field"``, ``"extra-field"``, ``"wrong-type"`` (nothing is converted: ``"5"`` and ``5.0``
                are no integers), ``"invalid-value"`` (right type, but not allowed).
        """
        value = parsing.parse(self.spec(), text)
        if self._model is None:
            return cast("OutT", value)
        try:
            output = self._model.model_validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            found = [
                Fault(_code(each["type"]), each["loc"])
                for each in error.errors(include_url=False, include_input=False, include_context=False)
            ]
        else:
            return cast("OutT", output)
        # Outside of the "except", so that the error does not carry Pydantic's, which quotes the answer.
        raise parsing.fault(found, value=value, names=names_of(self._schema))

    def check(self) -> list[Violation]:
        """Finds what is wrong with the task, all at once and without importing its hooks; see `checks.check`."""
        return checks.check(
            name=self.name,
            system_prompt=self.system_prompt,
            user_template=self.user_template,
            rubric=self.rubric,
            schema=self._schema,
            model=self._model,
            hooks=self.hooks,
        )

    @cached_property
    def _spec(self) -> TaskSpec:
        return TaskSpec(
            name=self.name,
            system_prompt=self.system_prompt,
            user_template=self.user_template,
            output_schema=self._schema,
            output_fields=self.output_fields,
            input_fields=self.input_fields,
            rubric=self.rubric,
            hooks=self.hooks,
        )

    def _content(self) -> tuple[Any, ...]:
        """All that makes two tasks the same; the schema as text, because the order of its fields counts."""
        return (self.name, self.system_prompt, self.user_template, tuple(sorted(self.rubric.items()))), json.dumps(
            self._schema
        )

    def __eq__(self, other: object) -> bool:
        return self._content() == cast("Task[Any]", other)._content() if isinstance(other, Task) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._content())

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"A task is frozen: {name!r} cannot be set.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"A task is frozen: {name!r} cannot be deleted.")

    def __repr__(self) -> str:
        fields = f"{', '.join(self.input_fields)} -> {', '.join(self.output_fields)}"
        return f"Task[{self.output.__name__}](name={self.name!r}, {fields})"

    def _saved(self) -> dict[str, Any]:
        return self.spec().model_dump(mode="json")

    @classmethod
    def _load(cls, value: Any) -> Task[Any]:
        if isinstance(value, Task):
            return cast("Task[Any]", value)
        if isinstance(value, TaskSpec):
            return Task.from_spec(value)
        if not isinstance(value, dict):
            raise ValueError(not_a_task(value))
        spec = TypeAdapter(TaskSpec).validate_python(value)
        return Task.from_spec(spec, **cast("Hooks", spec.hooks))  # what a config names, its user names

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        saver = core_schema.plain_serializer_function_ser_schema(cls._saved)
        return core_schema.no_info_plain_validator_function(cls._load, serialization=saver)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "object", "title": "Task"}


def _hooks(given: Hooks) -> dict[str, str]:
    try:
        return given_hooks(given)
    except ValueError as error:
        raise ConfigError(f"Task: {error}") from error


def _schema_of(output: type[BaseModel]) -> dict[str, Any]:
    given: Any = output
    if not isinstance(given, type) or not issubclass(given, BaseModel):
        raise ConfigError("A task's output must be a Pydantic model, a class that derives from pydantic.BaseModel.")
    try:
        return answer_schema(given)
    except (PydanticUserError, NameError) as error:
        raise ConfigError(f"{given.__name__} has no JSON Schema: {str(error).splitlines()[0]}") from error


def _code(kind: str) -> str:
    """The code of one of Pydantic's error types."""
    if kind == "missing":
        return "missing-field"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return "extra-field"
    return "wrong-type" if kind.endswith("_type") else "invalid-value"
