"""The engine `vllm`: a server of vLLM that is started for a model's folder, asked, and stopped with all its processes.

The server runs in an environment of its own and is never imported. It is given tokens, not messages: the prompt is
rendered here as in training, byte for byte, and the server's own chat template is not used. An answer with a schema is
kept to the grammar of `soaptune.runtime.engines.grammar`: vLLM's backend "guidance" is the same library, and the schema
is sent as that library takes it.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import IO, Any

from typing_extensions import Self

from soaptune.common.json_text import parse_object
from soaptune.engines import Completion, GenerationRequest, OnProgress, Unanswered
from soaptune.engines.spec import WITHOUT_CODE
from soaptune.errors import EngineError
from soaptune.local.ports import reserve_port
from soaptune.prompting.chat import render_prompt
from soaptune.tasks.constrained import with_layout

__all__ = ["VllmEngine"]

_NAME = "model"
_LOOK = 0.25
_TRIES, _PAUSE = 3, 1.0
_LOG_BYTES = 20_000
_ANSWER_SECONDS, _STOP_SECONDS = 1800.0, 30.0
_OPTIONS = (
    *WITHOUT_CODE,
    *("--host", "127.0.0.1", "--served-model-name", _NAME),
    *("--generation-config", "vllm"),  # no sampling options of the model's own
    *("--structured-outputs-config.backend", "guidance"),  # the grammar library of our own engine
    *("--gpu-memory-utilization", "0.85"),  # this process has a GPU context too
)


class VllmEngine:
    """Answers with a vLLM server that lives as long as the block; an `soaptune.engines.Engine`.

    An answer ends at the same tokens as in `soaptune.runtime.engines.transformers.TransformersEngine`.

    Args:
        folder: A folder with full weights and a tokenizer.
        tokenizer: The tokenizer, with the chat template of training.
        stop: Ids of the tokens that end an answer.
        max_length: How many tokens the model takes, prompt and answer together.
        program: What starts vLLM, see `soaptune.runtime.engines.vllm_program.find_vllm`.
        dtype: The number format to compute in, as vLLM names it.
        eager: Whether the model runs as it is, without being compiled, which takes a while and pays off on a GPU.
        concurrency: How many requests are under way at a time.
        arguments: Further arguments of the server.
        startup_seconds: How long the server may take to be ready.
    """

    def __init__(
        self,
        folder: str | Path,
        tokenizer: Any,
        *,
        stop: Iterable[int],
        max_length: int,
        program: Sequence[str] = ("vllm",),
        dtype: str = "auto",
        eager: bool = False,
        concurrency: int = 32,
        arguments: Sequence[str] = (),
        startup_seconds: float = 900.0,
    ) -> None:
        self._folder = Path(folder)
        self._tokenizer = tokenizer
        self._stop = sorted(stop)
        self._max_length = max_length
        self._context = max_length
        self._program = tuple(program)
        self._more = ("--dtype", dtype, *(["--enforce-eager"] if eager else []), *arguments)
        self._concurrency = concurrency
        self._patience = startup_seconds
        self._key = secrets.token_hex(16)
        self._port = 0
        self._guard: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        # What is on this machine is asked without a proxy.
        self._web = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def sized_for(self, requests: Sequence[GenerationRequest]) -> Self:
        """Sizes the server for some requests and no longer ones, which takes less memory; gives this engine.

        Args:
            requests: What it will be asked.

        Raises:
            ConfigError: The chat template cannot render a request's messages.
        """
        lengths = [len(prompt) + one.max_tokens for one, prompt in zip(requests, self._prompts(requests), strict=True)]
        self._context = min(self._max_length, max(lengths, default=self._max_length))
        return self

    def __enter__(self) -> Self:
        """Starts the server and waits until it answers.

        Raises:
            EngineError: It cannot be started, ends, or is not ready in time.
        """
        port, reservation = reserve_port()
        try:
            self._port = port
            self._log = tempfile.TemporaryFile(prefix="soaptune-vllm-")
            size = ("--port", str(port), "--max-model-len", str(self._context))
            command = [*self._program, "serve", str(self._folder), *_OPTIONS, *size, *self._more]
            self._guard = subprocess.Popen(
                [sys.executable, "-m", "soaptune.runtime.engines.process_guard", *command],
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
            )
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise
        finally:
            reservation.close()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops the server."""
        self.close()

    def close(self) -> None:
        """Stops the server and every process that it has started."""
        guard, self._guard = self._guard, None
        if guard is not None:
            if guard.stdin is not None:
                guard.stdin.close()
            try:
                guard.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                guard.kill()  # takes the server along, see soaptune.local.processes.parent_death_signal
                guard.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    def generate(
        self, requests: Sequence[GenerationRequest], *, on_progress: OnProgress | None = None
    ) -> list[Completion]:
        """Answers requests, see `soaptune.engines.Engine.generate`.

        Raises:
            ConfigError: The chat template cannot render a request's messages.
            EngineError: The server has ended, or refuses every request.
        """
        prompts = self._prompts(requests)
        done: dict[int, Completion] = {}
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="soaptune-vllm") as pool:
            under_way = {
                pool.submit(self._answer, request, prompt): index
                for index, (request, prompt) in enumerate(zip(requests, prompts, strict=True))
            }
            try:
                for future in as_completed(under_way):
                    done[under_way[future]] = future.result()
                    if on_progress is not None:
                        on_progress(len(done), len(requests))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        errors = [one.error for one in done.values() if isinstance(one.error, Unanswered)]
        if errors and len(errors) == len(requests):
            raise EngineError(f"vLLM answered none of the {len(requests)} requests: {errors[0]}; {self._last_lines()}")
        return [done[index] for index in range(len(requests))]

    def _prompts(self, requests: Sequence[GenerationRequest]) -> list[list[int]]:
        if not requests:
            return []
        texts = [render_prompt(self._tokenizer, request.messages) for request in requests]
        encoded = self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
        return encoded["input_ids"]

    def _answer(self, request: GenerationRequest, prompt: list[int]) -> Completion:
        try:
            self._refuse(request, len(prompt))
            answer = self._ask("/v1/completions", self._body(request, prompt))
            choice: dict[str, Any] = answer["choices"][0]
            usage: dict[str, Any] = answer.get("usage") or {}
            reason = "length" if choice.get("finish_reason") == "length" else "stop"
            return Completion(str(choice["text"]), len(prompt), int(usage.get("completion_tokens", 0)), reason)
        except (KeyError, IndexError, TypeError) as error:
            refused = Unanswered(f"vLLM's answer is not one of /v1/completions ({type(error).__name__})")
            return Completion("", len(prompt), finish_reason="error", error=refused)
        except EngineError as error:
            if self._guard is None or self._guard.poll() is not None:
                raise
            return Completion("", len(prompt), finish_reason="error", error=error)

    def _refuse(self, request: GenerationRequest, length: int) -> None:
        if length >= self._max_length:
            raise EngineError(
                f"the prompt has {length} tokens; the model takes {self._max_length} with the answer, "
                "and nothing is cut"
            )
        if request.max_tokens < 1:
            raise EngineError(f"max_tokens must be at least 1, not {request.max_tokens}")
        if request.adapter is not None:
            raise EngineError(f"there is no adapter {request.adapter!r}: this server has whole models only")

    def _body(self, request: GenerationRequest, prompt: list[int]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": _NAME,
            "prompt": prompt,
            "max_tokens": min(request.max_tokens, self._max_length - len(prompt)),
            "temperature": request.temperature,
            "seed": request.seed,
            "stop_token_ids": self._stop,
            # Training's end tokens end an answer and no others; a grammar ends it with the tokenizer's own.
            "ignore_eos": request.schema is None,
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
        }
        if request.schema is not None:
            body["structured_outputs"] = {"json": with_layout(request.schema)}
        return body

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        data = json.dumps(body).encode()
        problem = ""
        for attempt in range(_TRIES):
            request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", data, headers)
            try:
                with self._web.open(request, timeout=_ANSWER_SECONDS) as response:
                    return parse_object(response.read(), where="the answer of the server")
            except urllib.error.HTTPError as error:
                # The message of the server may quote the prompt, and stays where it is.
                problem = f"HTTP {error.code}"
                error.close()
                if error.code < 500 and error.code != 429:
                    break
            except (OSError, ValueError) as error:
                problem = type(error).__name__
            if self._guard is None or self._guard.poll() is not None:
                raise EngineError(f"vLLM has ended while it was asked: {self._last_lines()}")
            time.sleep(_PAUSE * (attempt + 1))
        raise Unanswered(f"vLLM did not answer the request ({problem})")

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + self._patience
        while time.monotonic() < end:
            if self._guard is not None and (code := self._guard.poll()) is not None:
                raise EngineError(f"vLLM could not be started (exit status {code}): {self._last_lines()}")
            try:
                with self._web.open(f"http://127.0.0.1:{self._port}/health", timeout=5.0):
                    return
            except OSError:
                time.sleep(_LOOK)
        raise EngineError(f"vLLM was not ready after {self._patience:.0f} s: {self._last_lines()}")

    def _environment(self) -> dict[str, str]:
        return {
            "VLLM_CPU_KVCACHE_SPACE": "4",  # GiB without a GPU, unless the user says otherwise
            **os.environ,
            "VLLM_API_KEY": self._key,  # others on this machine must not ask it
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",  # it is given a folder
        }

    def _last_lines(self) -> str:
        if self._log is None:
            return "it left no log"
        # Not by reading on: the server writes at the same position of the same file.
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), _LOG_BYTES, max(0, size - _LOG_BYTES)).decode("utf-8", "replace")
        lines = [line for line in text.splitlines() if line.strip()]
        return "its log ends with\n  " + "\n  ".join(lines[-12:]) if lines else "it left no log"
