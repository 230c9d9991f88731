"""Answers what a preflight asks of a tokenizer: a question as JSON on standard input, the answer on standard output.

It runs as a child process and loads the tokenizer, never torch or the weights.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from soaptune.errors import ConfigError, DataError, SoaptuneError
from soaptune.handles.dataset import Dataset
from soaptune.prompting import IGNORE_INDEX, LabelledRow, has_system_role
from soaptune.prompting.chat import Rendered, render_training
from soaptune.prompting.special_tokens import escaping
from soaptune.prompting.tokens import label_text
from soaptune.runtime.engines.pretrained import read_tokenizer
from soaptune.tasks import rendering
from soaptune.train.tokens import TokenAnswer, TokenQuestion

__all__ = ["answer", "main"]

_SAMPLE = 128
_SHORTEST = 64
_TOKENIZER_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]

Conversation = list[dict[str, str]]


def answer(question: TokenQuestion) -> TokenAnswer:
    """Looks at rows with a tokenizer.

    Args:
        question: Which tokenizer, and which rows.

    Raises:
        DataError: The rows cannot be read.
    """
    try:
        tokenizer = _tokenizer(question)
    except ConfigError as error:
        return TokenAnswer(problem=str(error))
    if tokenizer is None:
        return TokenAnswer(found=False)
    rows = _Rows(question)
    if not tokenizer.chat_template and not rows.are_plain:
        return TokenAnswer(chat_template=False)
    try:
        counted = _count(tokenizer, question, rows, rows.spread(_SAMPLE))
        if not counted.fitting and len(rows) > _SAMPLE:
            more = _count(tokenizer, question, rows, rows.shortest(_SHORTEST))
            counted = counted.replace(rows=counted.rows + more.rows, fitting=more.fitting, shortest=more.shortest)
    except ConfigError as error:
        return TokenAnswer(refused=str(error))
    asked = question.with_task and bool(rows.data.task.system_prompt)
    return counted.replace(system_role=not asked or has_system_role(tokenizer))


class _Rows:
    """The rows of a split, as conversations or as plain text."""

    def __init__(self, question: TokenQuestion) -> None:
        self.data = Dataset.open(question.data)
        self._with_task = question.with_task
        names = self.data.columns(question.split)
        kinds = self.data.task.fields if question.with_task else [k for k in ("messages", "text") if k in names][:1]
        if not kinds or any(kind not in names for kind in kinds):
            raise DataError(f"the split {question.split!r} lacks columns that training reads")
        self.are_plain = tuple(kinds) == ("text",) and not question.with_task
        self._table: Any = self.data.table(question.split).select(list(kinds))

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def spread(self, count: int) -> list[int]:
        """Numbers of at most so many rows, from the first to the last."""
        step = max(1.0, len(self) / count)
        return [int(number * step) for number in range(min(count, len(self)))]

    def shortest(self, count: int) -> list[int]:
        """Numbers of the rows with the least text."""
        lengths = [0] * len(self)
        for name in self._table.column_names:
            for number, value in enumerate(self._table.column(name).to_pylist()):
                lengths[number] += len(str(value))
        return sorted(range(len(self)), key=lengths.__getitem__)[:count]

    def texts(self, numbers: Sequence[int]) -> list[str]:
        """Rows of plain text."""
        return [str(row["text"]) for row in self._table.take(list(numbers)).to_pylist()]

    def conversations(self, numbers: Sequence[int]) -> Iterator[Conversation]:
        """Rows as conversations with their answers; those that cannot be rendered are the data's own trouble."""
        spec = self.data.task
        for row in self._table.take(list(numbers)).to_pylist():
            if not self._with_task:
                yield [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in row["messages"]]
                continue
            with contextlib.suppress(DataError, TypeError):
                prompt = rendering.messages(spec, row)
                reply = rendering.answer(spec, spec.outputs(row))
                turns: Conversation = [{"role": turn["role"], "content": turn["content"]} for turn in prompt]
                yield [*turns, {"role": "assistant", "content": reply}]


def _count(tokenizer: Any, question: TokenQuestion, rows: _Rows, numbers: Sequence[int]) -> TokenAnswer:
    if rows.are_plain:
        encoded = tokenizer(rows.texts(numbers), add_special_tokens=False, verbose=False)["input_ids"]
        end = int(tokenizer.eos_token_id is not None)
        lengths = [len(ids) + end for ids in encoded]
        cut = question.overlong == "truncate"
        fitting = sum(cut or length <= question.max_length for length in lengths)
        return _measured(lengths).replace(fitting=fitting)
    conversations = list(rows.conversations(numbers))
    rendered = [render_training(tokenizer, conversation) for conversation in conversations]
    labelled = list(label_text(tokenizer, rendered))
    least = int(question.with_task)  # a conversation that somebody else has written may end with a question
    return _measured([len(row.input_ids) for row in labelled]).replace(
        fitting=sum(_fits(row, question) for row in labelled),
        without_end=sum(row.n_ends < max(least, len(each.spans)) for row, each in zip(labelled, rendered, strict=True)),
        rewritten=_rewritten(tokenizer, conversations, rendered) if question.with_task else 0,
    )


def _measured(lengths: Sequence[int]) -> TokenAnswer:
    return TokenAnswer(rows=len(lengths), shortest=min(lengths, default=0), longest=max(lengths, default=0))


def _fits(row: LabelledRow, question: TokenQuestion) -> bool:
    if question.overlong == "drop":
        return len(row.input_ids) <= question.max_length
    return any(label != IGNORE_INDEX for label in row.labels[: question.max_length])


def _rewritten(tokenizer: Any, conversations: Sequence[Conversation], rendered: Sequence[Rendered]) -> int:
    escape = escaping(tokenizer)
    count = 0
    for conversation, each in zip(conversations, rendered, strict=True):
        start, end = each.spans[-1] if each.spans else (0, 0)
        count += each.text[start:end].strip() != escape(conversation[-1]["content"]).strip()
    return count


def _tokenizer(question: TokenQuestion) -> Any:
    """The tokenizer; None when it is one of the hub that does not lie in the cache."""
    # It is typed in part only.
    hub: Any = importlib.import_module("huggingface_hub")
    folder, from_hub = question.model, not Path(question.model).is_absolute()
    try:
        if from_hub:
            folder = hub.snapshot_download(
                question.model,
                revision=question.revision,
                cache_dir=question.cache_dir,
                allow_patterns=_TOKENIZER_FILES,
                local_files_only=True,
            )
        tokenizer = read_tokenizer(folder)
    except Exception as error:  # the files are the user's, and tokenizers raises plain exceptions for broken ones
        if from_hub:  # the job fetches what the cache lacks
            return None
        first_line = next(iter(str(error).strip().splitlines()), "")
        raise ConfigError(f"it cannot be loaded ({type(error).__name__}: {first_line})") from error
    if not tokenizer.is_fast:
        raise ConfigError("it is not one of the fast tokenizers (tokenizer.json), which say where a token stands")
    return tokenizer


def main() -> int:
    """Reads a question and writes its answer; returns the exit status."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # nothing that a library prints gets between
            try:
                question = TokenQuestion.model_validate_json(sys.stdin.read())
            except ConfigError as error:
                raise ConfigError(f"the question is broken: {error}") from error
            found = answer(question)
    except SoaptuneError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(found.model_dump_json())
    return 0
