"""Labels from token offsets, in one pass: the answers' tokens and their end tokens are trained, nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, cast

from soaptune.prompting.chat import Rendered, render_training
from soaptune.prompting.special_tokens import control_ids

__all__ = ["IGNORE_INDEX", "LabelledRow", "label_rows", "label_text"]

IGNORE_INDEX = -100
"""The label of a token that is not trained, as PyTorch's cross entropy names it."""


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """The tokens of one conversation.

    Attributes:
        input_ids: Token ids, shape (tokens,).
        labels: The same ids where a token is trained, `IGNORE_INDEX` elsewhere, shape (tokens,).
        n_trained: How many tokens are trained.
        n_ends: How many answers end with a trained end token.
    """

    input_ids: list[int]
    labels: list[int]
    n_trained: int
    n_ends: int


def label_rows(tokenizer: Any, conversations: Sequence[Sequence[Mapping[str, str]]]) -> Iterator[LabelledRow]:
    """Tokenizes conversations and labels their answers.

    Args:
        tokenizer: A fast tokenizer of transformers with a chat template.
        conversations: Chat messages, each a mapping with ``role`` and ``content``.

    Yields:
        One row for each conversation, in order.

    Raises:
        ConfigError: The chat template cannot render a conversation (see `render_training`).
    """
    rendered = [render_training(tokenizer, messages) for messages in conversations]
    yield from label_text(tokenizer, rendered)


def label_text(tokenizer: Any, rendered: Sequence[Rendered]) -> Iterator[LabelledRow]:
    """Tokenizes rendered conversations and labels their answers.

    A token is trained when it lies wholly inside an answer, and when it is the control token that the template writes
    directly behind one, whether or not the tokenizer's config gives it a role.

    Args:
        tokenizer: A fast tokenizer of transformers.
        rendered: What `render_training` gave.

    Yields:
        One row for each text, in order.
    """
    if not rendered:
        return
    encoded = tokenizer(
        [r.text for r in rendered],
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    control = control_ids(tokenizer)
    ids_of = cast("list[list[int]]", encoded["input_ids"])
    offsets_of = cast("list[list[tuple[int, int]]]", encoded["offset_mapping"])
    for row, ids, offsets in zip(rendered, ids_of, offsets_of, strict=True):
        yield _label(row, ids, offsets, control)


def _label(rendered: Rendered, ids: list[int], offsets: list[tuple[int, int]], control: Set[int]) -> LabelledRow:
    labels = [IGNORE_INDEX] * len(ids)
    trained = ends = at = 0
    for start, end in rendered.spans:
        # Byte-level tokenizers trim whitespace from offsets, so a token of whitespace alone is reported as an empty
        # span at its own end: at `start` it is the last token of the prompt, behind `start` it belongs to the answer.
        while at < len(ids) and (offsets[at][0] < start or offsets[at] == (start, start)):
            at += 1
        while at < len(ids) and offsets[at][1] <= end:
            labels[at] = ids[at]
            trained += 1
            at += 1
        stop = at
        while stop < len(ids) and ids[stop] not in control and not rendered.text[end : offsets[stop][1]].strip():
            stop += 1
        if stop < len(ids) and ids[stop] in control and not rendered.text[end : offsets[stop][0]].strip():
            # Whitespace that the template puts between answer and end token has to be generated too.
            for index in range(at, stop + 1):
                labels[index] = ids[index]
            trained += stop + 1 - at
            ends += 1
            at = stop + 1
    return LabelledRow(ids, labels, trained, ends)
