"""Tasks: what a model must learn. `Task` defines one; `SOAP` is the first.

Importing this room costs what Pydantic costs: jsonschema is loaded when the first answer is validated.
"""

from soaptune.tasks.hooks import load_hook
from soaptune.tasks.parsing import CODES
from soaptune.tasks.soap import SOAP, SOAPNote
from soaptune.tasks.task import Task

__all__ = ["CODES", "SOAP", "SOAPNote", "Task", "load_hook"]
