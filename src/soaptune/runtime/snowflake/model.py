"""The model as Snowflake's registry holds and serves it: our engine behind the signature of OpenAI's chat API.

The SDK's own packaging of a transformers pipeline renders the prompt without training's empty think block, adds the
tokenizer's own start tokens, obeys control tokens that stand in a user's text, draws at random unless it is told not
to, says ``"stop"`` of answers that were cut, and holds no answer to a schema. What is served here is what was trained.

The registry pickles this module along with the class, so that it imports soaptune (which travels in the version's
``code/``) only where it uses it, and annotations are real types: the SDK compares them with ``pandas.DataFrame``.
"""

import threading
import time
import uuid
from typing import Any

import pandas as pd  # pyright: ignore[reportMissingTypeStubs]
from snowflake.ml.model import custom_model  # pyright: ignore[reportMissingTypeStubs]

__all__ = ["REFUSED", "ServedModel"]

REFUSED = "refused:"
"""What the ``finish_reason`` of a request that was not answered begins with; behind it stands the reason's code. The
signature has no place for errors, and one bad row must not take the others of its batch down."""


class ServedModel(custom_model.CustomModel):  # type: ignore[misc, unused-ignore]
    """A merged model with its task; made for a context with the artifacts ``model`` (a folder) and ``plan``."""

    def __init__(self, context: custom_model.ModelContext | None = None) -> None:
        super().__init__(context)
        from soaptune.common.files import read_object
        from soaptune.runtime.engines.loading import load_model
        from soaptune.runtime.engines.transformers import TransformersEngine
        from soaptune.runtime.serve.answering import Answerer
        from soaptune.tasks.spec import TaskSpec

        plan = read_object(self.context.path("plan"))
        self._name = str(plan["name"])
        self._limit = int(plan["max_new_tokens"])
        # Loaded here and not with the first question: a service is ready when it can answer.
        engine = TransformersEngine(*load_model(self.context.path("model")))
        self._answerer = Answerer(engine, TaskSpec.model_validate(plan["task"]))
        self._turn = threading.Lock()

    @custom_model.inference_api
    def __call__(
        self,
        X: pd.DataFrame,  # noqa: N803 - the SDK calls it by place, its users know it by this name
        *,
        temperature: float = 0.0,
        max_completion_tokens: int = 0,
        stop: list[str] = [],  # noqa: B006 - never changed
        n: int = 1,
        stream: bool = False,
        top_p: float = 1.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        response_format: dict = {},  # noqa: B006 # pyright: ignore[reportMissingTypeArgument, reportUnknownParameterType]
        model: str = "",  # noqa: ARG002 - there is one
    ) -> pd.DataFrame:
        """Answers conversations, one for each row, with OpenAI's parameters; without a format by the task's schema."""
        # A client's null arrives as the default, or as None where that is the default.
        given_stop: Any = () if stop is None else stop  # pyright: ignore[reportUnnecessaryComparison]
        unsupported = {
            "stop": len(given_stop) > 0,
            "n": n not in (None, 1),
            "stream": bool(stream),
            "top_p": top_p not in (None, 1.0),
            "frequency_penalty": bool(frequency_penalty),
            "presence_penalty": bool(presence_penalty),
        }
        asked = [name for name, given in unsupported.items() if given]
        if asked:
            message = f"{', '.join(asked)}: not supported by this model's engine."
            rows = [self._refused("unsupported_parameter", message) for _ in range(len(X))]
            return pd.DataFrame(rows, index=X.index)
        frame: Any = X
        rows = self._answers(frame["messages"].tolist(), temperature or 0.0, max_completion_tokens, response_format)
        return pd.DataFrame(rows, index=X.index)

    def _answers(
        self, conversations: list[Any], temperature: float, limit: int | None, response_format: Any
    ) -> list[dict[str, Any]]:
        from soaptune.engines import Completion, GenerationRequest

        questions = [
            GenerationRequest(
                # Fields that a client leaves out arrive as nulls, and a null list as None.
                [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in messages],
                max_tokens=int(limit or self._limit),
                schema=self._schema(response_format),
                temperature=float(temperature),
            )
            for messages in conversations
        ]
        with self._turn:  # an engine answers one batch at a time
            results = self._answerer(questions)
        return [
            self._row(result)
            if isinstance(result, Completion)
            else self._refused(str(getattr(result, "code", "engine_error")), str(result))
            for result in results
        ]

    def _schema(self, response_format: Any) -> Any:
        asked: dict[str, Any] = response_format or {}
        if asked.get("type") == "text":
            return None
        named: dict[str, Any] = asked.get("json_schema") or {}
        return (named.get("schema") if asked.get("type") == "json_schema" else None) or self._answerer.schema

    def _row(self, completion: Any) -> dict[str, Any]:
        return self._completion(
            completion.text, completion.finish_reason, completion.prompt_tokens, completion.completion_tokens, None
        )

    def _refused(self, code: str, message: str) -> dict[str, Any]:
        # `name` is the one place of the signature's message that can say why.
        return self._completion("", REFUSED + code, 0, 0, message)

    def _completion(self, text: str, reason: str, prompt: int, answer: int, name: str | None) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": float(int(time.time())),
            "model": self._name,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text, "name": name},
                    "logprobs": None,
                    "finish_reason": reason,
                }
            ],
            "usage": {"completion_tokens": answer, "prompt_tokens": prompt, "total_tokens": prompt + answer},
        }
