"""The in-process engine: a transformers model that answers chat messages in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from soaptune.engines import Completion, Conversation, GenerationRequest, Measured, OnProgress
from soaptune.errors import EngineError
from soaptune.prompting.chat import render_prompt
from soaptune.prompting.tokens import IGNORE_INDEX, label_rows
from soaptune.runtime.engines.attention import ATTENTION
from soaptune.runtime.engines.constraint import constraint, processor
from soaptune.runtime.engines.decoding import Row, decode
from soaptune.runtime.engines.loading import load_model
from soaptune.runtime.engines.perplexity import answer_losses

__all__ = ["TransformersEngine"]


class TransformersEngine:
    """Answers with a model in this process; an `soaptune.engines.Engine`.

    The prompt is rendered as in training, byte for byte. Prompts of like length share a batch; an answer ends at the
    chat template's end-of-turn token or at one that the model's generation config names.

    Args:
        model: A causal language model of transformers, or one with adapters of PEFT.
        tokenizer: Its tokenizer, with a chat template.
        batch_size: How many prompts are answered together at most.
        batch_tokens: How many tokens a batch's prompts and answers may have together, padding included. Bounds memory.
        schema_seconds: How much computing time an answer's schema may take; None for as much as it takes.

    Raises:
        EngineError: The tokenizer's chat template ends an answer with no token.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        batch_size: int = 32,
        batch_tokens: int = 65_536,
        schema_seconds: float | None = None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        self._batch_tokens = batch_tokens
        self._schema_seconds = schema_seconds
        self._stop = _stop_tokens(model, tokenizer)
        if getattr(model.config, "_attn_implementation", "") == "sdpa":
            model.set_attn_implementation(ATTENTION)

    @classmethod
    def load(
        cls, weights: str | Path, *, base: str | None = None, merge: bool = True, **options: Any
    ) -> TransformersEngine:
        """Loads a model folder.

        Args:
            weights: As in `soaptune.runtime.engines.loading.load_model`.
            base: The base model of an adapter.
            merge: Whether an adapter is merged into its base.
            **options: As in the constructor.
        """
        model, tokenizer = load_model(weights, base=base, merge=merge)
        return cls(model, tokenizer, **options)

    @property
    def model(self) -> Any:
        """The model."""
        return self._model

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return self._tokenizer

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Ids of the tokens that end an answer."""
        return self._stop

    @property
    def max_length(self) -> int:
        """How many tokens a prompt and its answer may have together."""
        return int(getattr(self._model.config, "max_position_embeddings", 0) or 2**31)

    def measure(self, conversations: Sequence[Conversation | None]) -> Measured:
        """Measures reference answers, see `soaptune.engines.Engine.measure`.

        Raises:
            ConfigError: The chat template cannot render a conversation.
        """
        labelled = list(label_rows(self._tokenizer, [one for one in conversations if one is not None]))
        found = iter(answer_losses(self._model, labelled, max_length=self.max_length, batch_size=self._batch_size))
        losses = [next(found) if one is not None else None for one in conversations]
        return Measured(
            [None if loss is None else (loss.loss, loss.tokens) for loss in losses],
            max((row.n_trained for row in labelled), default=512),
        )

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        *,
        on_progress: OnProgress | None = None,
        wanted: Callable[[int], bool] | None = None,
    ) -> list[Completion]:
        """Answers requests, see `soaptune.engines.Engine.generate`.

        An answer has at most `max_tokens` tokens, or as many as the model's length leaves behind the prompt; one that
        was cut there, or with a schema led to its end before, has the finish reason ``"length"``.

        Args:
            requests: The requests.
            on_progress: As in `soaptune.engines.Engine.generate`.
            wanted: Says of a request by its index whether its answer is still wanted. It is asked at each token, and
                the answer of one that is no longer wanted stays as it is then.

        Raises:
            ConfigError: The chat template cannot render a request's messages.
        """
        done: dict[int, Completion] = {}
        rows: dict[int, Row] = {}
        grammars: dict[int, Any] = {}
        for index, (request, prompt) in enumerate(zip(requests, self._prompts(requests), strict=True)):
            try:
                self._refuse(request, len(prompt))
                row = self._row(request, prompt)
                row.wanted = None if wanted is None else partial(wanted, index)
                if request.schema is not None:
                    grammars[index] = processor(self._tokenizer, request.schema, limit=row.limit, stop=self._stop)
                rows[index] = row
            except EngineError as error:
                done[index] = Completion("", prompt_tokens=len(prompt), finish_reason="error", error=error)
        answered = len(done)

        def advance(count: int) -> None:
            nonlocal answered
            answered += count
            if on_progress is not None:
                on_progress(answered, len(requests))

        advance(0)
        for batch in self._batches(requests, rows):
            self._use_adapter(requests[batch[0]].adapter)
            group = [rows[index] for index in batch]
            decode(
                self._model,
                group,
                stop=self._stop,
                pad=self._tokenizer.pad_token_id or 0,
                constrain=constraint(
                    group, [grammars.pop(index, None) for index in batch], seconds=self._schema_seconds
                ),
                on_done=advance,
            )
            done.update(zip(batch, self._completions(group), strict=True))
        return [done[index] for index in range(len(requests))]

    def _prompts(self, requests: Sequence[GenerationRequest]) -> list[list[int]]:
        if not requests:
            return []
        texts = [render_prompt(self._tokenizer, request.messages) for request in requests]
        encoded = self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
        return encoded["input_ids"]

    def _refuse(self, request: GenerationRequest, length: int) -> None:
        if length >= self.max_length:
            raise EngineError(
                f"the prompt has {length} tokens; the model takes {self.max_length} with the answer, and nothing is cut"
            )
        if request.max_tokens < 1:
            raise EngineError(f"max_tokens must be at least 1, not {request.max_tokens}")
        names = list(getattr(self._model, "peft_config", {}))
        if request.adapter is not None and request.adapter not in names:
            raise EngineError(f"there is no adapter {request.adapter!r}; loaded: {', '.join(names) or 'none'}")

    def _row(self, request: GenerationRequest, prompt: list[int]) -> Row:
        generator = torch.Generator().manual_seed(request.seed) if request.temperature > 0 else None
        limit = min(request.max_tokens, self.max_length - len(prompt))
        return Row(prompt, limit, temperature=request.temperature, generator=generator)

    def _batches(self, requests: Sequence[GenerationRequest], rows: dict[int, Row]) -> list[list[int]]:
        """Indices of the requests in batches, longest first, so that what does not fit into memory fails at once."""
        order = sorted(rows, key=lambda i: (requests[i].adapter or "", -len(rows[i].prompt) - rows[i].limit, i))
        batches: list[list[int]] = []
        for index in order:
            last = batches[-1] if batches else []
            members = [*last, index]
            width = max(len(rows[i].prompt) for i in members) + max(rows[i].limit for i in members)
            same = bool(last) and requests[last[0]].adapter == requests[index].adapter
            if same and len(members) <= self._batch_size and width * len(members) <= self._batch_tokens:
                last.append(index)
            else:
                batches.append([index])
        return batches

    def _use_adapter(self, name: str | None) -> None:
        if name is not None:
            self._model.set_adapter(name)

    def _completions(self, rows: Sequence[Row]) -> list[Completion]:
        texts: list[str] = self._tokenizer.batch_decode(
            [row.answer[:-1] if row.stopped else row.answer for row in rows],
            skip_special_tokens=False,
            clean_up_tokenization_spaces=False,
        )
        return [_completion(row, text) for row, text in zip(rows, texts, strict=True)]


def _completion(row: Row, text: str) -> Completion:
    if row.error is not None:
        return Completion("", len(row.prompt), len(row.answer), "error", error=row.error)
    return Completion(text, len(row.prompt), len(row.answer), "stop" if row.stopped and not row.closed else "length")


def _stop_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """What ends an answer: the end token that training puts behind it, and the generation config's."""
    turn = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    row = next(iter(label_rows(tokenizer, [turn])))
    stop: set[int] = set()
    if row.n_ends:
        stop.add([label for label in row.labels if label != IGNORE_INDEX][-1])
    named: int | list[int] | None = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if named is not None:
        stop.update(named if isinstance(named, list) else [named])
    if not stop:
        raise EngineError("neither the chat template nor the generation config names a token that ends an answer")
    return frozenset(stop)
