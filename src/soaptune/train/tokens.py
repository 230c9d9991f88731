"""What the base model's tokenizer makes of a training job's rows. A child process loads it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import soaptune
from soaptune import tiny
from soaptune.common.json_text import parse_object
from soaptune.config import Config
from soaptune.errors import BackendError, Violation
from soaptune.handles.dataset import Dataset
from soaptune.handles.location import Folder
from soaptune.train.spec import TrainSpec

__all__ = ["NEEDS", "WITHOUT_TORCH", "TokenAnswer", "TokenQuestion", "token_findings"]

NEEDS = ("transformers", "pyarrow", "jinja2")
"""The packages without which the child process can answer nothing."""
_SECONDS = 120.0
_TOKENIZER_FILES = ("tokenizer*", "chat_template*", "special_tokens*", "added_tokens*", "vocab*", "config.json")
WITHOUT_TORCH = {"USE_TORCH": "0", "USE_TF": "0", "USE_FLAX": "0", "HF_HUB_OFFLINE": "1"}
"""Variables of the child process. A tokenizer needs no tensors, and importing torch takes longer than all the rest."""


class TokenQuestion(Config):
    """What ``python -m soaptune.runtime probe`` is asked, as JSON on its standard input."""

    model: str
    """A folder, or a name on the hub whose files are looked for in the cache."""
    revision: str | None
    cache_dir: str | None
    data: str
    """The dataset's folder."""
    split: str
    with_task: bool
    """Whether rows become conversations by the task; otherwise they bring ``messages`` or ``text``."""
    max_length: int
    overlong: str


class TokenAnswer(Config):
    """What it answers, as JSON on its standard output. Rows are a sample, spread evenly, when there are many."""

    found: bool = True
    """Whether the tokenizer lies on this machine; if not, nothing else is known."""
    problem: str = ""
    """Why the tokenizer cannot be used; empty when it can."""
    chat_template: bool = True
    """Whether there is one, where the rows need one."""
    refused: str = ""
    """Why the chat template cannot render the rows; empty when it can."""
    system_role: bool = True
    """Whether the template has a place for the system prompt, where there is one."""
    rows: int = 0
    """How many rows were looked at."""
    fitting: int = 0
    """How many of them can be trained under `TokenQuestion.max_length`."""
    shortest: int = 0
    longest: int = 0
    """Tokens of the shortest row and of the longest."""
    without_end: int = 0
    """Rows with an answer behind which no token is trained."""
    rewritten: int = 0
    """Rows whose answer does not stand in the text as it is."""


def token_findings(spec: TrainSpec, data: Dataset) -> list[Violation]:
    """Looks at the rows with the base model's tokenizer.

    Nothing is found where that cannot be done here: when the rows or the base model lie elsewhere (what is on the hub
    and not in the cache is not fetched for this), or the packages of the extra ``train`` are not installed.

    Args:
        spec: The choices, with a split that is there.
        data: The examples.
    """
    folder, at = _base_folder(spec), data.location
    if folder is None or not isinstance(at, Folder) or any(importlib.util.find_spec(name) is None for name in NEEDS):
        return []
    question = TokenQuestion(
        model=spec.model if spec.base.on_hub else str(folder),
        revision=spec.revision,
        cache_dir=str(Path(spec.cache_dir).absolute()) if spec.cache_dir else None,
        data=at.path,
        split=spec.train_split,
        with_task=spec.trainer == "sft",
        max_length=spec.max_length,
        overlong=spec.overlong,
    )
    files = sorted(file for pattern in _TOKENIZER_FILES for file in folder.glob(pattern))
    state = "".join(f"{file.name} {file.stat().st_mtime_ns}\n" for file in files)
    try:
        answer = _ask(question.model_dump_json(), f"{data.fingerprint}\n{state}")
    except BackendError as error:
        message = f"the rows could not be looked at with the tokenizer of {spec.model}: {error}"
        return [Violation(path="model", code="not-looked-at", level="warning", message=message)]
    return list(_findings(spec, answer))


@lru_cache(maxsize=32)
def _ask(question: str, _state: str) -> TokenAnswer:
    """Asks the child process, once for a state of the files."""
    # In the folder from which this package is imported anyway: the user's own may hold a module of any name.
    home = Path(soaptune.__file__).resolve().parent.parent
    try:
        done = subprocess.run(
            [sys.executable, "-m", "soaptune.runtime", "probe"],
            input=question,
            capture_output=True,
            cwd=home,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **WITHOUT_TORCH, "PYTHONIOENCODING": "utf-8", "TRANSFORMERS_VERBOSITY": "error"},
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BackendError(f"that took longer than {_SECONDS:g} s") from error
    except OSError as error:
        raise BackendError(f"{sys.executable} cannot be started ({error.strerror})") from error
    if done.returncode != 0:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it left no message")
        raise BackendError(f"the child process ended with status {done.returncode}: {last.strip()}")
    try:
        return TokenAnswer.model_validate(parse_object(done.stdout, where="the answer"))
    except ValueError as error:
        raise BackendError("the child process gave no answer") from error


def _base_folder(spec: TrainSpec) -> Path | None:
    """The base model's folder, or the one that the hub's cache has for it; None when there is none here."""
    if spec.model == tiny.NAME:
        return tiny.path()
    if spec.base.is_folder:
        folder = Path(spec.model).expanduser().absolute()
    else:
        # As in huggingface_hub's constants, without importing it.
        home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
        cache = spec.cache_dir or os.environ.get("HF_HUB_CACHE") or Path(home) / "hub"
        folder = Path(cache).expanduser() / f"models--{spec.model.replace('/', '--')}"
    return folder if folder.is_dir() else None


def _findings(spec: TrainSpec, answer: TokenAnswer) -> Iterator[Violation]:
    if answer.problem:
        yield Violation(
            path="model",
            code="unusable-tokenizer",
            message=f"the tokenizer of {spec.model} cannot be used: {answer.problem}",
        )
    elif not answer.chat_template:
        yield Violation(
            path="model",
            code="no-chat-template",
            message=f"{spec.model} has no chat template, by which a conversation is written as text",
            hint="Use the instruction-tuned model, or put a chat_template.jinja into a copy of the model's folder.",
        )
    elif answer.refused:
        yield Violation(path="model", code="unusable-chat-template", message=answer.refused)
    elif answer.found:
        yield from _of_template(spec, answer)
        yield from _of_lengths(spec, answer)


def _of_template(spec: TrainSpec, answer: TokenAnswer) -> Iterator[Violation]:
    if not answer.system_role:
        yield Violation(
            path="model",
            code="no-system-role",
            level="warning",
            message=f"the chat template of {spec.model} has no system role; the system prompt is put at the head of "
            "the first question, in training and in serving",
        )
    if answer.rewritten:
        yield Violation(
            path="model",
            code="answers-rewritten",
            message=f"the chat template of {spec.model} changes the answer in {_of(answer.rewritten, answer)}",
            hint="Use a chat template that inserts message content as it is (or trims it).",
        )
    if answer.without_end:
        yield Violation(
            path="model",
            code="no-end-token",
            message=f"in {_of(answer.without_end, answer)} no token is trained that ends the answer: the chat template "
            f"of {spec.model} writes none of the tokenizer's added tokens behind it, and the model would not learn to "
            "stop",
            hint="Use a chat template that ends each turn with one of the tokenizer's added tokens.",
        )


def _of_lengths(spec: TrainSpec, answer: TokenAnswer) -> Iterator[Violation]:
    over = answer.rows - answer.fitting
    if answer.rows and not answer.fitting:
        yield Violation(
            path="max_length",
            code="nothing-fits",
            message=f"no row of the split {spec.train_split!r} can be trained under max_length={spec.max_length}: the "
            f"shortest has {answer.shortest} tokens",
            hint=f"max_length={answer.longest} takes all of the rows that were looked at.",
        )
    elif over:
        fate = "left out" if spec.overlong == "drop" else "cut before their answer begins, and left out"
        yield Violation(
            path="max_length",
            code="rows-do-not-fit",
            level="warning",
            message=f"{_of(over, answer)} ({over / answer.rows:.0%}) {'is' if over == 1 else 'are'} longer than "
            f"max_length={spec.max_length} and will be {fate}",
            hint=f"max_length={answer.longest} takes all of the rows that were looked at.",
        )


def _of(count: int, answer: TokenAnswer) -> str:
    return f"{count:,} of {answer.rows:,} rows looked at"
