"""Prompting: chat rendering, token offsets and lengths – one path for labels, inspection, evaluation and serving.

Functions take a tokenizer object of transformers but import nothing heavy themselves.
"""

from soaptune.prompting.chat import Rendered, has_system_role, render_prompt, render_training
from soaptune.prompting.special_tokens import control_tokens, escape_special_tokens
from soaptune.prompting.tokens import IGNORE_INDEX, LabelledRow, label_rows

__all__ = [
    "IGNORE_INDEX",
    "LabelledRow",
    "Rendered",
    "control_tokens",
    "escape_special_tokens",
    "has_system_role",
    "label_rows",
    "render_prompt",
    "render_training",
]
