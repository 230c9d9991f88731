"""Tasks: what a model must learn. `Task` defines one; `SOAP` is the first.

Importing this package costs what Pydantic costs: jsonschema is loaded when the first answer is validated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from soaptune.tasks.hooks import load_hook
from soaptune.tasks.parsing import CODES
from soaptune.tasks.task import Task

if TYPE_CHECKING:
    from soaptune.soap import SOAP, SOAPNote

__all__ = ["CODES", "SOAP", "SOAPNote", "Task", "built_in", "load_hook"]

# Hidden from type checkers, to which a `__getattr__` would make every misspelt name an `Any`.
if not TYPE_CHECKING:
    _BUILT_IN = {"SOAP": "soaptune.soap", "SOAPNote": "soaptune.soap"}
    """The tasks that come with the library, by the package that has them: each is loaded when it is first used."""

    def __getattr__(name):
        if name not in _BUILT_IN:
            raise AttributeError(f"module 'soaptune.tasks' has no attribute {name!r}; it offers {', '.join(__all__)}")
        from importlib import import_module

        value = getattr(import_module(_BUILT_IN[name]), name)
        globals()[name] = value
        return value


def built_in() -> tuple[Task[Any], ...]:
    """The tasks that come with the library."""
    from soaptune import tasks

    return (tasks.SOAP,)
