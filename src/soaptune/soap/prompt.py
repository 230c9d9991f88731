"""What the SOAP task asks for: the note, the instruction and the rubric.

The instruction is short on purpose: every training example and every request carries it.
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel

from soaptune.tasks.task import Task

__all__ = ["NOT_DISCUSSED", "SOAP", "SOAPNote"]

NOT_DISCUSSED: Final = "Not discussed."
"""What stands in a section about which the dialogue says nothing. An empty string would look like an omission."""

SYSTEM_PROMPT: Final = (
    'Write the SOAP note of the dialogue: one JSON object with exactly the keys "S", "O", "A", "P", each plain text.\n'
    "S: what the patient reports. O: what was measured or found. A: the diagnosis. "
    "P: treatment, instructions, follow-up.\n"
    "State only what is said. Copy numbers, doses and names exactly. "
    f'A section without content is "{NOT_DISCUSSED}"'
)


class SOAPNote(BaseModel):
    """A clinical note in four sections, each plain text; ``Not discussed.`` where a section has no content."""

    S: str
    """Subjective: what the patient reports."""
    O: str  # noqa: E741
    """Objective: what was measured or found."""
    A: str
    """Assessment: the diagnosis or problem."""
    P: str
    """Plan: treatment, instructions and follow-up."""


SOAP: Final[Task[SOAPNote]] = Task(
    name="soap",
    system_prompt=SYSTEM_PROMPT,
    user_template="{dialogue}",
    output=SOAPNote,
    rubric={
        "S": (
            "Gives the patient's complaint and symptoms with their duration and severity, what the patient denies, and "
            "the history, medications and allergies, as far as the dialogue has them. Nothing measured or found by the "
            "clinician, no diagnosis, no plan. Nothing that the dialogue does not say."
        ),
        "O": (
            "Gives the vital signs, examination findings and results that the dialogue states, each number and unit "
            "exactly as said. Nothing that the patient only reports, no finding that nobody stated."
        ),
        "A": (
            "Names the diagnosis or problem that the clinician states, no surer and no more specific than it was said. "
            "No diagnosis of the note's own."
        ),
        "P": (
            "Gives every treatment with its dose and frequency, every instruction and the follow-up that the dialogue "
            "states, numbers and names exactly as said. No treatment, test or advice that nobody gave."
        ),
    },
    generator="soaptune.soap.generator:SoapGenerator",
    lexicon="soaptune.soap.terms:terms",
)
