"""A small server of OpenAI's /v1/completions in vLLM's place: a real model, asked over real HTTP, started as vLLM is.

Run as ``python completions_server.py serve FOLDER --host .. --port ..``. What it does is noted in the folder that
``STAND_IN_NOTES`` names, if any: its process ids, its command line and the bodies of its requests.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NOTES = Path(os.environ.get("STAND_IN_NOTES") or tempfile.mkdtemp())
KEY = os.environ["VLLM_API_KEY"]
LOCK = threading.Lock()


def load(folder: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(
        folder
    )


def complete(model: Any, tokenizer: Any, body: dict[str, Any]) -> dict[str, Any]:
    import torch

    ids = list(body["prompt"])
    answer: list[int] = []
    reason = "length"
    matcher = constraint(tokenizer, body["structured_outputs"]["json"]) if "structured_outputs" in body else None
    ends = {*body["stop_token_ids"], *([] if body["ignore_eos"] else [tokenizer.eos_token_id])}
    with torch.inference_mode():
        while len(answer) < body["max_tokens"]:
            scores = model(input_ids=torch.tensor([ids + answer])).logits[0, -1]
            if matcher is not None:
                allowed = torch.frombuffer(bytearray(matcher.compute_logit_bias()), dtype=torch.uint8) != 0
                scores = scores[: len(allowed)].masked_fill(~allowed[: len(scores)], float("-inf"))
            token = int(scores.argmax())
            answer.append(token)
            if matcher is not None:
                matcher.consume_token(token)
            if token in ends:
                reason = "stop"
                break
    shown = answer[:-1] if reason == "stop" else answer
    text = tokenizer.decode(shown, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return {
        "choices": [{"index": 0, "text": text, "finish_reason": reason}],
        "usage": {"prompt_tokens": len(ids), "completion_tokens": len(answer)},
    }


def constraint(tokenizer: Any, schema: dict[str, Any]) -> Any:
    """The matcher that vLLM's backend "guidance" makes of a schema, see vllm/v1/structured_output in its sources."""
    from llguidance import LLMatcher
    from llguidance.hf import from_tokenizer

    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), defaults={"whitespace_flexible": True})
    return LLMatcher(from_tokenizer(tokenizer), grammar, log_level=0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("serve")
    parser.add_argument("folder")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    options, _ = parser.parse_known_args()
    # As vLLM does, it has processes of its own, which must not outlive it.
    helper = subprocess.Popen(["sleep", "600"], start_new_session=True)
    (NOTES / "pids").write_text(f"{os.getpid()} {helper.pid}")
    (NOTES / "command").write_text(json.dumps([sys.argv, sorted(os.environ)]))
    model, tokenizer = load(options.folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/completions" or self.headers["Authorization"] != f"Bearer {KEY}":
                return self.reply(401, {})
            with LOCK:
                with (NOTES / "bodies.jsonl").open("a") as file:
                    file.write(json.dumps(body) + "\n")
                if (NOTES / "die").exists():
                    os._exit(3)
                if (NOTES / "refuse").exists() and body["prompt"] == json.loads((NOTES / "refuse").read_text()):
                    return self.reply(400, {"error": {"message": "no"}})
                return self.reply(200, complete(model, tokenizer, body))

        def reply(self, status: int, said: dict[str, Any]) -> None:
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            return

    ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
