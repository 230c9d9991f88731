"""From conversations to labelled token rows, with the fate of every row; and from rows to packs."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportIncompatibleVariableOverride=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false
# ArcticTraining, DeepSpeed and datasets come without complete types, and its registry reads narrowed class attributes.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from soaptune.prompting.tokens import IGNORE_INDEX, LabelledRow, label_rows

__all__ = ["next_fit", "tokenize"]


def tokenize(batch: dict[str, list[Any]], tokenizer: Any, max_length: int, overlong: str) -> dict[str, list[Any]]:
    """Tokenizes and labels a batch of rows and decides what becomes of each.

    Args:
        batch: Columns ``id`` and ``messages`` or ``text``.
        tokenizer: A fast tokenizer of transformers.
        max_length: Most tokens that a row may have.
        overlong: ``"drop"`` leaves longer rows out, ``"truncate"`` keeps their first `max_length` tokens.

    Returns:
        Columns ``id``, ``input_ids``, ``labels``, ``fate`` (``kept``, ``cut`` or ``dropped``), ``reason`` and
        ``lost`` (tokens cut or dropped).
    """
    texts = batch.get("text")
    rows = label_rows(tokenizer, batch["messages"]) if texts is None else _plain(tokenizer, texts)
    out: dict[str, list[Any]] = {k: [] for k in ("id", "input_ids", "labels", "fate", "reason", "lost")}
    for row_id, row in zip(batch["id"], rows, strict=True):
        # Nothing in front of the first token predicts it.
        ids, labels, fate, reason, lost = row.input_ids, [IGNORE_INDEX, *row.labels[1:]], "kept", "", 0
        over = len(ids) - max_length
        if over > 0 and overlong == "truncate":
            ids, labels, fate, reason, lost = ids[:max_length], labels[:max_length], "cut", "over-length", over
        elif over > 0:
            fate, reason, lost = "dropped", "over-length", len(ids)
        if fate != "dropped" and all(label == IGNORE_INDEX for label in labels):
            fate, reason, lost = "dropped", "no-trained-token", row.n_trained or len(row.input_ids)
        if fate == "dropped":
            ids, labels = [], []
        for key, value in zip(out, (row_id, ids, labels, fate, reason, lost), strict=True):
            out[key].append(value)
    return out


def _plain(tokenizer: Any, texts: Sequence[str]) -> Iterator[LabelledRow]:
    """Plain text: every token is trained, and the end of the text too."""
    end = tokenizer.eos_token_id
    for ids in tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]:
        tokens = ids if end is None else [*ids, end]
        yield LabelledRow(tokens, list(tokens), len(tokens), int(end is not None))


def next_fit(lengths: Sequence[int], max_length: int) -> list[list[int]]:
    """Packs rows in order: a row that does not fit into the open pack closes it and opens the next.

    Args:
        lengths: Tokens of each row, none over `max_length`.
        max_length: Most tokens in a pack.

    Returns:
        For each pack the indices of its rows.
    """
    packs: list[list[int]] = []
    left = 0
    for index, length in enumerate(lengths):
        if length > left:
            packs.append([])
            left = max_length
        packs[-1].append(index)
        left -= length
    return packs
