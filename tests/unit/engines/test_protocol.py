"""What an engine takes and gives is plain data."""

import subprocess
import sys

from soaptune.engines import Completion, GenerationRequest


def test_a_request_is_greedy_free_text_unless_it_says_otherwise():
    request = GenerationRequest([{"role": "user", "content": "x"}], 5)
    assert (request.schema, request.adapter, request.temperature) == (None, None, 0.0)


def test_a_completion_without_an_error_is_an_answer():
    assert Completion("x").error is None


def test_engines_and_evaluation_are_described_without_torch_or_numpy():
    code = (
        "import sys, soaptune.engines, soaptune.evaluate.scoring, soaptune.evaluate.summary, soaptune.handles.report\n"
    )
    code += "print([m for m in ('torch', 'transformers', 'numpy', 'pyarrow', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
