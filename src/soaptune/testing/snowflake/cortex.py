"""AI_COMPLETE: a function of the test in place of a model, counted and as slow as is asked.

The forms with positional and with named arguments, in any statement, become a call of one DuckDB function. With a
response format the answer is an object, as on the server; an answer that is no JSON arrives as a text in its place,
so that a client meets what a model may do.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from soaptune.testing.snowflake import literals
from soaptune.testing.snowflake.results import SqlError
from soaptune.testing.snowflake.statements import outside_quotes, rewrites

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account
    from soaptune.testing.snowflake.sessions import Session

Completion = Callable[[str, str, "dict[str, Any] | None"], "str | None"]
_FUNCTION = "soaptune_ai_complete"
_POSITIONS = ("model", "prompt", "model_parameters", "response_format", "show_details", "return_error_details")
_NAME = r"(?:\bSNOWFLAKE\s*\.\s*CORTEX\s*\.\s*(?P<old>TRY_COMPLETE|COMPLETE)|\bAI_COMPLETE)\s*\("
_COUNT = r"\bAI_COUNT_TOKENS\s*\(|\bSNOWFLAKE\s*\.\s*CORTEX\s*\.\s*COUNT_TOKENS\s*\("


@dataclass(frozen=True)
class AiCall:
    """One call of AI_COMPLETE, for one row.

    Attributes:
        model: The name of the model.
        prompt: The prompt.
        response_format: The format that was asked for, or None.
        parameters: The model's parameters, or None.
        answer: What the function returned.
    """

    model: str
    prompt: str
    response_format: dict[str, Any] | None
    parameters: dict[str, Any] | None
    answer: str | None


@dataclass
class AiComplete:
    """The scripted AI_COMPLETE of an account.

    Attributes:
        account: Whose it is.
        function: Answers in place of a model; may be exchanged at any time.
        calls: Every call, in order.
        latency: How many seconds each call takes.
    """

    account: Account = field(repr=False)
    function: Completion | None = None
    calls: list[AiCall] = field(default_factory=list[AiCall])
    latency: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _error: str | None = None

    def __post_init__(self) -> None:
        self.account.fake.duck_conn.create_function(
            _FUNCTION,
            self._complete,
            ["VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR", "BOOLEAN"],
            "VARCHAR",
            null_handling="special",
            # Otherwise DuckDB would call it once for equal prompts.
            side_effects=True,
        )

    def take_error(self) -> SqlError | None:
        """The error that the function raised last, once."""
        with self._lock:
            text, self._error = self._error, None
        return SqlError(100351, f"Request failed for external function COMPLETE$V5: {text}", "22023") if text else None

    def _complete(
        self, model: str | None, prompt: str | None, parameters: str | None, response: str | None, details: bool | None
    ) -> str | None:
        if model is None or prompt is None:
            return None
        if self.latency:
            self.account.closing.wait(self.latency)
        wanted = json.loads(response) if response else None
        try:
            if self.function is None:
                raise LookupError("no function answers AI_COMPLETE: give emulated_snowflake(ai_complete=...) one")
            answer, error = self.function(model, prompt, wanted), None
        except Exception as caught:
            if not details:
                with self._lock:
                    self._error = str(caught)
                raise
            answer, error = None, str(caught)
        call = AiCall(model, prompt, wanted, json.loads(parameters) if parameters else None, answer)
        with self._lock:
            self.calls.append(call)
        value = _as_json(answer) if wanted else answer
        if details:
            return json.dumps({"value": json.loads(value) if wanted and value else value, "error": error})
        return value


def _as_json(answer: str | None) -> str | None:
    if answer is None:
        return None
    try:
        json.loads(answer)
    except ValueError:
        return json.dumps(answer)
    return answer


@rewrites(issued_by="users, snowflake/snowpark/functions.py:14096")
def completions(account: Account, session: Session, sql: str) -> str:
    """Turns every form of AI_COMPLETE into a call of the account's function."""
    if not re.search(_NAME, sql, re.IGNORECASE):
        return sql
    done = ""
    while first := next(iter(_places(_NAME, sql)), None):
        arguments, end = split_arguments(sql, first.end())
        arguments = [completions(account, session, argument) for argument in arguments]
        done += sql[: first.start()] + _call(arguments, old=bool(first["old"]))
        sql = sql[end:]
    return done + sql


def _places(pattern: str, sql: str) -> list[re.Match[str]]:
    """Where a pattern is found in SQL, but not inside texts, quoted names and comments."""
    found: list[re.Match[str]] = []

    def remember(match: re.Match[str]) -> str:
        found.append(match)
        return match[0]

    outside_quotes(pattern, remember, sql)
    return found


def _call(arguments: list[str], *, old: bool) -> str:
    given: dict[str, str] = {}
    for position, argument in enumerate(arguments):
        named = re.match(r"\s*(\w+)\s*=>\s*(.*)", argument, re.DOTALL)
        key = named[1].lower() if named else _POSITIONS[min(position, len(_POSITIONS) - 1)]
        given[key] = (named[2] if named else argument).strip()
    if unknown := set(given) - set(_POSITIONS):
        raise SqlError(1003, f"SQL compilation error:\nAI_COMPLETE has no argument {sorted(unknown)}.", "42000")
    prompt = _prompt(given.get("prompt", "NULL"))
    if old:
        return f"{_FUNCTION}({given['model']}, ({prompt})::VARCHAR, NULL, NULL, FALSE)"
    parameters, response = _json(given.get("model_parameters")), _json(given.get("response_format"))
    details = given.get("return_error_details", "FALSE")
    call = f"{_FUNCTION}({given['model']}, ({prompt})::VARCHAR, {parameters}, {response}, {details})"
    return f"PARSE_JSON({call})" if response != "NULL" or details.upper() == "TRUE" else call


def _prompt(text: str) -> str:
    """``PROMPT('... {0} ...', a)`` as an expression; any other prompt as it is."""
    match = re.match(r"PROMPT\s*\(", text, re.IGNORECASE)
    if not match:
        return text
    template, *values = split_arguments(text, match.end())[0]
    for number, value in enumerate(values):
        template = f"REPLACE({template}, '{{{number}}}', ({value})::VARCHAR)"
    return template


def _json(text: str | None) -> str:
    """An argument that is an object, as an expression of JSON text."""
    if text is None or text.upper() == "NULL":
        return "NULL"
    if text.startswith("{"):
        return _literal(json.dumps(_constant(text)))
    if match := re.match(r"TYPE\s+OBJECT\s*\((.*)\)\s*$", text, re.IGNORECASE | re.DOTALL):
        return _literal(json.dumps({"type": "json", "schema": _schema(match[1])}))
    if text.startswith("'") or text.startswith("$$"):
        return text
    return f"TO_JSON({text})"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


_TYPES = {"STRING": "string", "VARCHAR": "string", "TEXT": "string", "NUMBER": "number", "FLOAT": "number"}


def _schema(fields: str) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for field_text in split_arguments(fields + ")", 0)[0]:
        name, _, kind = field_text.strip().partition(" ")
        array = re.match(r"ARRAY\s*\(\s*(\w+)", kind.strip(), re.IGNORECASE)
        known = _TYPES.get((array[1] if array else kind).strip().upper().split("(")[0], "string")
        properties[name.strip('"')] = {"type": "array", "items": {"type": known}} if array else {"type": known}
    return {"type": "object", "properties": properties}


_CONSTANT = re.compile(
    rf"\s*(?:(?P<text>{literals.TEXT})|(?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)|(?P<word>true|false|null)|(?P<mark>[{{}}\[\]:,]))",
    re.IGNORECASE | re.DOTALL,
)


def _constant(text: str) -> Any:
    """A constant of SQL such as ``{'a': [1, true]}`` as a value.

    Raises:
        SqlError: If it is not a constant.
    """
    made: list[str] = []
    position = 0
    while position < len(text.rstrip()):
        found = _CONSTANT.match(text, position)
        if not found:
            raise SqlError(1003, f"SQL compilation error:\nthe emulator takes only constants in {text}", "42000")
        token = found["text"]
        made.append(json.dumps(literals.text(token)) if token else found[0].strip().lower())
        position = found.end()
    try:
        return json.loads("".join(made))
    except ValueError as error:
        raise SqlError(1003, f"SQL compilation error:\nsyntax error in the constant {text}", "42000") from error


def split_arguments(sql: str, start: int) -> tuple[list[str], int]:
    """The arguments of a call.

    Args:
        sql: The text.
        start: Where the first argument begins, after the opening bracket.

    Returns:
        The text of each, and where the call ends.

    Raises:
        SqlError: If a bracket is not closed.
    """
    depth, begun, found = 0, start, list[str]()
    token = re.compile(rf"""{literals.TEXT}|"(?:[^"]|"")*"|[()\[\]{{}},]""", re.DOTALL)
    for match in token.finditer(sql, start):
        mark = match[0]
        if mark in "([{":
            depth += 1
        elif mark in ")]}" and depth:
            depth -= 1
        elif mark == ")" or (mark == "," and not depth):
            found.append(sql[begun : match.start()])
            begun = match.end()
            if mark == ")":
                return [text for text in found if text.strip()], match.end()
    raise SqlError(1003, f"SQL compilation error:\nsyntax error: a bracket is not closed in: {sql}", "42000")


@rewrites(issued_by="users")
def token_counts(account: Account, session: Session, sql: str) -> str:  # noqa: ARG001
    """AI_COUNT_TOKENS and its older name, as a quarter of the letters of the last argument."""
    for place in reversed(_places(_COUNT, sql)):
        arguments, end = split_arguments(sql, place.end())
        counted = f"GREATEST(1, CEIL(LENGTH(({arguments[-1]})::VARCHAR) / 4))::INTEGER"
        sql = sql[: place.start()] + counted + sql[end:]
    return sql
