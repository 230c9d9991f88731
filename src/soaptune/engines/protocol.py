"""What every engine takes and gives: chat messages in, text with token counts out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from soaptune.errors import EngineError

__all__ = [
    "Completion",
    "Conversation",
    "Engine",
    "FinishReason",
    "GenerationRequest",
    "Measured",
    "OnProgress",
    "Unanswered",
]

FinishReason = Literal["stop", "length", "error"]
"""Why an answer ends: the model ended its turn, it used up its tokens, or it could not be asked at all."""

OnProgress = Callable[[int, int], None]
"""Called with the number of requests that are answered and the number of all requests."""


class Unanswered(EngineError):
    """A request that was sent and came back without an answer; as a `Completion.error`."""


@dataclass(frozen=True)
class GenerationRequest:
    """One question to a model.

    Attributes:
        messages: The conversation up to and including the user's turn, each a mapping with ``role`` and ``content``.
        max_tokens: How many tokens the answer may have, its end token included.
        schema: A JSON Schema that the answer must follow (constrained decoding), or None for free text.
        adapter: The name of the adapter that answers, or None for the model as it was loaded.
        temperature: 0 always takes the likeliest token (greedy); larger values draw at random.
        seed: What the draws start from. The same request gives the same answer in whichever batch it stands.
    """

    messages: Sequence[Mapping[str, str]]
    max_tokens: int = 512
    schema: Mapping[str, Any] | None = None
    adapter: str | None = None
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Completion:
    """One answer.

    Attributes:
        text: The answer without its end token; empty when `error` is set.
        prompt_tokens: Tokens of the rendered prompt.
        completion_tokens: Tokens generated, the end token included.
        finish_reason: Why the answer ends.
        error: Why this request could not be answered, such as a prompt that is too long. It never makes the other
            requests of the call fail.
    """

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: FinishReason = "stop"
    error: EngineError | None = None


Conversation: TypeAlias = Sequence[Mapping[str, str]]
"""Chat messages, each a mapping with ``role`` and ``content``; the last one is the answer where there is one."""


@dataclass(frozen=True)
class Measured:
    """What an engine makes of reference answers.

    Attributes:
        losses: For each conversation the loss of its answer (the sum over its tokens, in nats) and the number of the
            answer's tokens; None where that was not measured.
        longest: Tokens of the longest answer (512 where none is valid); None for an engine that does not count tokens.
    """

    losses: Sequence[tuple[float, int] | None]
    longest: int | None


class Engine(Protocol):
    """Something that answers chat messages."""

    def measure(self, conversations: Sequence[Conversation | None]) -> Measured:
        """Measures reference answers, before anything is generated.

        Args:
            conversations: For each example the prompt with the reference answer, or None where that is not valid.

        Returns:
            Losses and lengths, as far as the engine gives them.
        """
        ...

    def generate(
        self, requests: Sequence[GenerationRequest], *, on_progress: OnProgress | None = None
    ) -> list[Completion]:
        """Answers requests.

        Args:
            requests: The questions; an engine batches them as it likes.
            on_progress: Called as answers become complete.

        Returns:
            One completion for each request, in the order of the requests. A prompt is never cut: one that does not
            fit gives a completion with `Completion.error`.

        Raises:
            EngineError: The engine itself cannot work, so that no request can be answered.
        """
        ...
