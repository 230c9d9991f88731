"""Logs as the programs underneath write them, and the advice that they bring."""

import pytest

from soaptune.jobs.hints import hint_for


@pytest.mark.parametrize(
    ("log", "advice"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "per_device_batch_size"),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried", "per_device_batch_size"),
        ("exits with return code = -9", "per_device_batch_size"),
        ("killed by signal 9 (SIGKILL)", "per_device_batch_size"),
        ("exit status 137", "per_device_batch_size"),
        ("OSError: nobody/none is not a local folder and is not a valid model identifier listed on", "no such model"),
        ("huggingface_hub.errors.LocalEntryNotFoundError: Cannot find the requested files", "no such model"),
        (
            # What ArcticTraining 0.8.0 prints of a model that is neither in the cache nor to be had.
            "pydantic_core._pydantic_core.ValidationError: 2 validation errors for TrainerConfig\nmodel\n  Value error,"
            " An error happened while trying to locate the files on the Hub and we cannot find the appropriate "
            "snapshot folder for the specified revision on the local disk.",
            "no such model",
        ),
        ("huggingface_hub.errors.OfflineModeIsEnabled: Cannot reach https://huggingface.co", "no such model"),
        ("huggingface_hub.errors.GatedRepoError: 401 Client Error. Cannot access gated repo", "licence"),
        ("ValueError: No data left after filtering", "max_length"),
        ("soaptune.errors.DataError: no rows left of the split 'train'", "max_length"),
        ("pydantic_core._pydantic_core.ValidationError: 1 validation error for SFTTrainerConfig", "config is refused"),
        ("yaml.scanner.ScannerError: mapping values are not allowed here", "config is refused"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'c++'", "C++ compiler"),
        ("/bin/sh: 1: g++: not found", "C++ compiler"),
        ("RuntimeError: Ninja is required to load C++ extensions", "C++ compiler"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("[Errno 98] error while attempting to bind on address: address already in use", "port"),
        ("BackendError: cannot listen at 127.0.0.1, port 8000: Address already in use", "port of your own"),
        ("torch.distributed.DistNetworkError: EADDRINUSE, message: address already in use", "port"),
        ("ModuleNotFoundError: No module named 'torch'", "soaptune[train]"),
        ("ModuleNotFoundError: No module named 'uvicorn'", "soaptune[serve]"),
        ("ModuleNotFoundError: No module named 'my_judges'", "code_paths"),
        ("FloatingPointError: the loss is nan at step 3", "learning rate"),
    ],
)
def test_a_known_failure_comes_with_what_to_do(log, advice):
    assert advice in hint_for(f"step 1\n{log}\nexit status 1")


@pytest.mark.parametrize(
    "log", ["", "exit status 1", "exit status 13", "killed by signal 15 (SIGTERM)", "KeyError: 'x'"]
)
def test_an_unknown_failure_comes_without_advice(log):
    assert hint_for(log) == ""
