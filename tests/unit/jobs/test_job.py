"""Waiting, failing and giving a result are the same on every backend."""

import asyncio

import pytest

from soaptune.errors import BackendError, JobCancelled, JobFailed, JobTimeout
from soaptune.jobs.spec import JobSpec


@pytest.fixture
def job(memory):
    def make(kind="data", **how):
        return memory.MemoryJob(JobSpec(name="x", kind=kind, entrypoint=("python",)), **how)

    return make


def test_waiting_ends_when_the_job_is_done(job):
    made = job(states=["pending", "running", "running", "done"])
    made.wait(timeout=5)
    assert made.result() == "made"


def test_a_timeout_leaves_the_job_running(job):
    made = job(states=["running"])
    with pytest.raises(JobTimeout, match=r"running after 0\.01 s; it goes on"):
        made.wait(timeout=0.01)
    assert not made.cancelled


def test_a_failure_tells_the_reason_the_advice_and_the_end_of_the_log(job):
    log = [f"line {i}" for i in range(200)] + ["torch.OutOfMemoryError: CUDA out of memory"]
    with pytest.raises(JobFailed) as caught:
        job(states=["running", "failed"], log=log, reason="exit status 1").wait()
    error = caught.value
    assert error.job_id == "memory-1"
    assert error.log_tail[-1] == log[-1]
    assert len(error.log_tail) == 60
    assert "per_device_batch_size" in error.hint
    assert all(part in str(error) for part in ("exit status 1", error.hint, log[-1], "memory:///1"))
    assert "line 100" not in str(error)


def test_a_cancelled_job_is_told_apart_from_a_failed_one(job):
    with pytest.raises(JobCancelled, match=r"was cancelled$"):
        job(states=["cancelled"], reason="it was cancelled").wait()


def test_waiting_in_an_event_loop_leaves_it_free(job):
    async def both():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        await job(states=["running"] * 5 + ["done"]).wait_async(timeout=5)
        ticking.cancel()
        with pytest.raises(JobFailed):
            await job(states=["running", "failed"]).wait_async()
        with pytest.raises(JobTimeout):
            await job(states=["running"]).wait_async(timeout=0.01)
        return ticks

    assert asyncio.run(both()) > 5


def test_a_result_is_not_given_before_the_end(job):
    with pytest.raises(BackendError, match=r"running; wait\(\) for it first"):
        job(states=["running"]).result()


def test_a_job_that_ended_well_without_a_result_says_so(job):
    with pytest.raises(JobFailed, match=r"no manifest\.json"):
        job(states=["done"], made=None).result()


def test_an_endpoint_gives_its_handle_while_it_runs(job):
    made = job(kind="endpoint", states=["pending", "running"])
    made.wait(timeout=5)
    assert made.result() == "made"


def test_a_bare_command_line_leaves_no_handle(job):
    with pytest.raises(BackendError, match="memory:///1"):
        job(kind="command").result()


def test_the_latest_progress_is_the_last_line(job):
    assert job(progress=[{"done": 1}, {"done": 2}]).progress() == {"done": 2}
    assert job().progress() == {}
