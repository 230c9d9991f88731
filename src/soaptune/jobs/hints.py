"""What to do about the failures that people meet most, found by what they leave in a log."""

from __future__ import annotations

import re

__all__ = ["hint_for"]

_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"CUDA out of memory|OutOfMemoryError|DefaultCPUAllocator: can't allocate|MemoryError|killed by signal 9|Cannot allocate memory",
        "the machine ran out of memory: halve per_device_batch_size (and double gradient_accumulation_steps), lower "
        "max_length, switch gradient_checkpointing on, use method='lora', or a DeepSpeed stage with offload.",
    ),
    (
        r"no rows left|No data left after|Empty dataset after process",
        "no example fits: raise max_length, or look into the row ledger (output/ledger.parquet) for the reasons.",
    ),
    (
        r"GatedRepoError|gated repo|401 Client Error|Access to model .* is restricted",
        "the model is gated: accept its licence on the hub and name the environment variable with your token, token='HF_TOKEN'.",
    ),
    (
        r"LocalEntryNotFoundError|RepositoryNotFoundError|is not a local folder and is not a valid model identifier|OfflineModeIsEnabled|couldn't connect to|We couldn't connect|HFValidationError|does not appear to have a file named|Max retries exceeded with url|Name or service not known|Temporary failure in name resolution",
        "there is no such model, or the hub cannot be reached: check the name and revision, or download the model and pass its folder.",
    ),
    (
        r"ninja: build stopped|Error building extension|g\+\+: not found|Unable to find a C\+\+ compiler|CUDA_HOME does not exist|command 'c\+\+' failed|No such file or directory: '(c\+\+|g\+\+)'",
        "DeepSpeed wants to build C++ here: use OptimizerOptions(name='adamw'), which needs none, or install a C++ compiler.",
    ),
    (
        r"validation errors? for \w*Config|yaml\.(scanner|parser)|Duplicate '.*' key found in YAML|is not a registered \w+",
        "ArcticTraining refuses the config: change the TrainSpec field that the log names.",
    ),
    (r"No space left on device", "the disk is full: free space, or put the backend's root on another disk."),
    (r"Address already in use|EADDRINUSE", "a port is taken by another program: submit again, a new port is drawn each time."),
    (r"the loss is (nan|inf)", "training diverged: lower the learning rate, lengthen the warm-up, or use dtype='fp32'."),
    (r"No module named '(uvicorn|fastapi|llguidance|httpx)", "install what serving needs: pip install 'soaptune[serve]'"),
    (r"No module named '(torch|transformers|peft|datasets|arctic_training|deepspeed)", "install what training needs: pip install 'soaptune[train]'"),
)  # fmt: skip


def hint_for(log: str) -> str:
    """Says what to do about a failure.

    Args:
        log: The last lines of the log and the reason of the failure.

    Returns:
        A sentence, or an empty string for a failure that is not a known one.
    """
    return next((hint for pattern, hint in _HINTS if re.search(pattern, log)), "")
