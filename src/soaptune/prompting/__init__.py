"""Prompting: chat rendering, token offsets and lengths – one path for labels, inspection, evaluation and serving.

Functions take a tokenizer object of transformers but import nothing heavy themselves.
"""

from soaptune.prompting.chat import Rendered, render_prompt, render_training
from soaptune.prompting.tokens import IGNORE_INDEX, LabelledRow, label_rows

__all__ = ["IGNORE_INDEX", "LabelledRow", "Rendered", "label_rows", "render_prompt", "render_training"]
