"""Jobs of the emulated account, driven by the real SDK: they really run, and nothing of them outlives the account."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from soaptune.testing.snowflake import emulated_snowflake
from soaptune.testing.snowflake.account import Account

pytestmark = pytest.mark.contract

Submit = Callable[..., Any]


@pytest.fixture
def submit(account: Account, session: Any, tmp_path: Path) -> Submit:
    """Sends a script as a job; `files` are put beside it."""
    from snowflake.ml import jobs

    def send(script: str, *, files: dict[str, str] | None = None, **options: Any) -> Any:
        payload = tmp_path / f"payload-{time.monotonic_ns()}"
        payload.mkdir()
        (payload / "main.py").write_text(script, encoding="utf-8")
        for name, text in (files or {}).items():
            (payload / name).write_text(text, encoding="utf-8")
        chosen = {
            "entrypoint": "main.py",
            "compute_pool": "GPU_POOL",
            "stage_name": "TEST_DB.PUBLIC.PAYLOADS",
            **options,
        }
        return jobs.submit_directory(str(payload), session=session, **chosen)

    return send


def until(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """What the condition gives as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def pids(job: Any) -> list[int]:
    """The process ids that the job prints in a line ``pids …``, as soon as it has."""
    return [int(pid) for pid in until(lambda: re.findall(r"^pids (.*)$", job.get_logs(), re.MULTILINE))[0].split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_directory_runs_with_its_arguments_environment_and_session(submit: Submit) -> None:
    script = """
import os, sys
from snowflake.snowpark.context import get_active_session
from helper import word
session = get_active_session()
print(word, sys.argv[1:], os.environ["COLOUR"], os.path.basename(os.getcwd()))
print(session.get_current_database(), session.get_current_role(), session.sql("select 40 + 2").collect()[0][0])
__return__ = {"answer": 42}
"""
    job = submit(script, files={"helper.py": "word = 'hello'"}, args=["--n", "3"], env_vars={"COLOUR": "green"})

    assert job.wait() == "DONE"
    assert job.get_logs(as_list=True) == ["hello ['--n', '3'] green app", '"TEST_DB" "TEST_ROLE" 42']
    assert job.result() == {"answer": 42}
    assert (job.target_instances, job.min_instances) == (1, 1)
    verbose = job.get_logs(verbose=True)
    assert verbose.index("Requirement already satisfied: cloudpickle") < verbose.index("ML job started")


def test_a_job_sees_nothing_of_the_callers_environment_and_of_its_logins(
    submit: Submit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a secret of the caller")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    script = "import os, pathlib; print('OPENAI_API_KEY' in os.environ, list(pathlib.Path.home().iterdir()))"

    job = submit(script)

    assert job.wait() == "DONE"
    assert job.get_logs() == "False []"


def test_a_file_and_a_function_run(account: Account, session: Any, tmp_path: Path) -> None:
    from snowflake.ml import jobs

    (tmp_path / "one.py").write_text("print('from a file')", encoding="utf-8")
    job = jobs.submit_file(str(tmp_path / "one.py"), "GPU_POOL", stage_name="payloads", session=session)

    @jobs.remote("GPU_POOL", stage_name="payloads", session=session)
    def double(number: int) -> int:
        return 2 * number

    doubled = double(21)
    assert job.wait() == "DONE"
    assert job.get_logs() == "from a file"
    assert doubled.result() == 42


def test_a_payload_on_a_stage_runs(account: Account, session: Any, tmp_path: Path) -> None:
    from snowflake.ml import jobs

    (tmp_path / "main.py").write_text("print('from a stage')", encoding="utf-8")
    session.sql("create stage sources").collect()
    session.file.put(str(tmp_path / "main.py"), "@sources/code", auto_compress=False)

    job = jobs.submit_from_stage(
        "@sources/code", "GPU_POOL", entrypoint="@sources/code/main.py", stage_name="payloads", session=session
    )

    assert job.wait() == "DONE"
    assert job.get_logs() == "from a stage"


def test_a_command_line_runs_in_the_payload(submit: Submit) -> None:
    job = submit("import sys; print('ran with', sys.argv[1:])", entrypoint=["python", "main.py"], args=["a", "b c"])

    assert job.wait() == "DONE"
    assert job.get_logs() == "ran with ['a', 'b c']"


def test_what_a_job_writes_to_its_stage_is_on_the_stage(submit: Submit, session: Any, tmp_path: Path) -> None:
    script = """
import os, pathlib
out = pathlib.Path(os.environ["MLRS_STAGE_MOUNT_PATH"]) / "output"
out.mkdir()
(out / "model.txt").write_text("weights")
(pathlib.Path("..") / "beside.txt").write_text("x")
"""
    job = submit(script, name="WRITER")

    assert job.wait() == "DONE"
    session.file.get("@TEST_DB.PUBLIC.PAYLOADS/WRITER/output/model.txt", str(tmp_path / "got"))
    assert (tmp_path / "got" / "model.txt").read_text() == "weights"
    assert session.sql("ls @TEST_DB.PUBLIC.PAYLOADS/WRITER/beside.txt").collect()


def test_the_stage_is_mounted_where_the_platform_mounts_it(submit: Submit, account: Account) -> None:
    if not account.jobs.launcher.mounts:
        pytest.skip("this system allows no mount namespace")

    job = submit("import os; print(sorted(os.listdir('/mnt/job_stage')), os.getcwd(), __file__)")

    assert job.wait() == "DONE"
    assert job.get_logs().endswith("/mnt/job_stage/app /mnt/job_stage/app/main.py")
    assert "'app'" in job.get_logs()
    assert not Path("/mnt/job_stage").exists()


def test_without_mounts_paths_are_rewritten(submit: Submit, account: Account) -> None:
    account.jobs.launcher._mounts = False
    script = "import os, pathlib; print(os.environ['OUT']); pathlib.Path(os.environ['OUT']).mkdir(); __return__ = 7"

    job = submit(script, env_vars={"OUT": "/mnt/job_stage/output"})

    assert job.wait() == "DONE"
    assert job.get_logs().startswith(str(account.root))
    assert job.result() == 7


def test_an_exception_of_the_script_comes_back(submit: Submit) -> None:
    job = submit("raise KeyError('no such column')")

    assert job.wait() == "FAILED"
    assert "no such column" in job.get_logs()
    with pytest.raises(Exception, match="no such column"):
        job.result()


def test_an_exit_status_fails_the_job(submit: Submit, account: Account) -> None:
    job = submit("import sys; sys.exit(3)")

    assert job.wait() == "FAILED"
    assert "code 3" in next(iter(account.jobs)).message


def test_a_requirement_that_is_not_met_fails_the_job_as_pip_does(submit: Submit) -> None:
    job = submit(
        "print('never')", pip_requirements=["numpy>=1", "no-such-package-anywhere==1.0 ; python_version > '3'"]
    )

    assert job.wait() == "FAILED"
    log = job.get_logs(verbose=True)
    assert "Requirement already satisfied: numpy>=1" in log
    assert "ERROR: No matching distribution found for no-such-package-anywhere==1.0" in log
    assert "never" not in log


def test_logs_come_while_the_job_runs(submit: Submit) -> None:
    job = submit("import time; print('first'); time.sleep(60); print('second')")

    until(lambda: job.get_logs() == "first")
    assert job.status == "RUNNING"
    job.cancel()
    assert job.status == "CANCELLED"
    assert job.get_logs() == "first"


def test_the_last_lines_of_a_log_are_given(submit: Submit) -> None:
    job = submit("for i in range(300): print('line', i)")

    assert job.wait() == "DONE"
    assert job.get_logs(limit=10, verbose=True).splitlines()[-1] == "Head node job completed. Exiting."
    assert len(job.get_logs(limit=10, verbose=True).splitlines()) == 10
    assert len(job.get_logs(as_list=True)) == 300


def test_a_log_is_cut_at_100_kilobytes(submit: Submit) -> None:
    job = submit("for i in range(3000): print('x' * 99)")

    assert job.wait() == "DONE"
    log = job.get_logs(verbose=True)
    assert 90_000 < len(log) <= 100 * 1024
    assert log.endswith("Exiting.")


def test_a_delayed_log_comes_later(submit: Submit, account: Account) -> None:
    account.faults.delay_logs(3600)
    job = submit("print('hello')")

    assert job.wait() == "DONE"
    assert job.get_logs() == ""
    account.faults.delay_logs(0)
    assert job.get_logs() == "hello"


def test_cancel_kills_everything_at_once(submit: Submit) -> None:
    script = """
import os, subprocess, sys, time
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
daemon = subprocess.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"], stdout=subprocess.PIPE, text=True).stdout
print("pids", os.getpid(), child.pid, daemon.strip())
time.sleep(600)
"""
    job = submit(script)
    found = pids(job)
    assert len(found) == 3
    assert all(alive(pid) for pid in found)

    start = time.monotonic()
    job.cancel()

    assert time.monotonic() - start < 5
    assert job.status == "CANCELLED"
    assert not any(alive(pid) for pid in found)


def test_a_daemon_does_not_outlive_its_job(submit: Submit) -> None:
    job = submit("import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)")

    assert job.wait() == "DONE"
    assert not alive(int(job.get_logs()))


def test_closing_the_account_ends_its_jobs(tmp_path: Path) -> None:
    from snowflake.ml import jobs
    from snowflake.snowpark import Session

    (tmp_path / "main.py").write_text("import os, time; print('pids', os.getpid()); time.sleep(600)", encoding="utf-8")
    with emulated_snowflake() as account:
        session = Session.builder.configs(account.connection_parameters).create()
        job = jobs.submit_file(str(tmp_path / "main.py"), "GPU_POOL", stage_name="payloads", session=session)
        (pid,) = pids(job)
        folder, supervisor = account.jobs.launcher.folder, next(iter(account.jobs)).instances[0].container.pid
        session.close()

    assert not alive(pid)
    assert not alive(supervisor)
    assert not folder.exists()


def test_a_killed_emulator_leaves_no_process_behind(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("import os, time; print('pids', os.getpid()); time.sleep(600)", encoding="utf-8")
    program = f"""
import time
from snowflake.ml import jobs
from snowflake.snowpark import Session
from soaptune.testing.snowflake.account import Account
account = Account()
session = Session.builder.configs(account.connection_parameters).create()
job = jobs.submit_file({str(tmp_path / "main.py")!r}, "GPU_POOL", stage_name="payloads", session=session)
while "pids" not in job.get_logs() and job.status in ("PENDING", "RUNNING"):
    time.sleep(0.05)
print(job.get_logs().split()[-1], account.root, account.jobs.launcher.folder, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        pid, *folders = host.stdout.readline().split()
        assert alive(int(pid))
        host.kill()
    until(lambda: not alive(int(pid)), 5)

    for folder in folders:
        shutil.rmtree(folder)


def test_a_job_waits_until_its_pool_has_a_free_node(submit: Submit, session: Any) -> None:
    blocker = submit("import time; time.sleep(600)", target_instances=2)
    until(lambda: blocker.status == "RUNNING")
    waiting = submit("print('at last')")

    assert waiting.status == "PENDING"
    assert waiting.get_logs() == ""
    (pool,) = session.sql("show compute pools like 'GPU_POOL'").collect()
    assert (pool["state"], pool["active_nodes"], pool["max_nodes"], pool["num_jobs"]) == ("ACTIVE", 2, 2, 1)
    blocker.cancel()

    assert waiting.wait() == "DONE"
    assert waiting.get_logs() == "at last"


def test_a_job_of_two_instances_has_a_head_and_a_worker(submit: Submit, session: Any) -> None:
    script = """
import os
print("index", os.environ["SNOWFLAKE_JOB_INDEX"], "of", os.environ["SNOWFLAKE_JOBS_COUNT"])
"""
    job = submit(script, target_instances=2)

    assert job.wait() == "DONE"
    assert (job.target_instances, job.min_instances) == (2, 2)
    assert job.get_logs() == "index 0 of 2"
    assert "2 instances available" in job.get_logs(verbose=True)
    worker = job.get_logs(instance_id=1, verbose=True)
    assert "Worker node started" in worker
    assert "index" not in worker
    found = session.sql(f"show service instances in service {job.id}").collect()
    assert [(row["instance_id"], row["status"]) for row in found] == [("0", "SUCCEEDED"), ("1", "SUCCEEDED")]


def test_a_job_is_described_with_what_it_was_sent_with(submit: Submit, session: Any) -> None:
    session.sql("create network rule hub mode = egress type = host_port value_list = ('huggingface.co')").collect()
    session.sql("create external access integration hub_eai allowed_network_rules = (hub) enabled = true").collect()
    session.sql("create warehouse other_wh").collect()

    job = submit(
        "from snowflake.snowpark.context import get_active_session as s; print(s().get_current_warehouse())",
        comment="of a test",
        external_access_integrations=["HUB_EAI"],
        query_warehouse="OTHER_WH",
        runtime_environment="1.7.1",
        spec_overrides={"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": 1}}}]}},
    )

    (row,) = session.sql(f"describe service {job.id}").collect()
    assert (row["comment"], row["query_warehouse"], row["compute_pool"]) == ("of a test", "OTHER_WH", "GPU_POOL")
    assert row["external_access_integrations"] == '["HUB_EAI"]'
    import yaml

    (container,) = yaml.safe_load(row["spec"])["spec"]["containers"]
    assert ":1.7.1-py" in container["image"]
    assert container["resources"] == {"requests": {"cpu": 1}}
    assert container["env"]["MLRS_STAGE_MOUNT_PATH"] == "/mnt/job_stage"
    assert job.wait() == "DONE"
    assert job.get_logs() == '"OTHER_WH"'


def test_a_job_without_an_integration_has_no_way_out(submit: Submit, session: Any) -> None:
    script = """
import requests
try:
    requests.get("https://example.com", timeout=5)
except requests.exceptions.ProxyError:
    print("blocked")
"""
    job = submit(script)

    assert job.wait() == "DONE"
    assert job.get_logs() == "blocked"


def test_a_secret_of_the_specification_reaches_the_job_and_nothing_else(submit: Submit, session: Any) -> None:
    session.sql("create secret hub_token type = generic_string secret_string = 'very secret'").collect()
    entry = {"snowflakeSecret": {"objectName": "HUB_TOKEN"}, "secretKeyRef": "secret_string", "envVarName": "HF_TOKEN"}

    job = submit(
        "import os; print(len(os.environ['HF_TOKEN']))",
        spec_overrides={"spec": {"containers": [{"name": "main", "secrets": [entry]}]}},
    )

    assert job.wait() == "DONE"
    assert job.get_logs() == "11"
    assert "very secret" not in str(session.sql(f"describe service {job.id}").collect())


def test_jobs_are_listed_found_and_deleted(submit: Submit, session: Any) -> None:
    from snowflake.ml import jobs
    from snowflake.snowpark.exceptions import SnowparkSQLException

    first, second = submit("print(1)", name="FIRST"), submit("raise SystemExit(1)", name="SECOND")
    assert (first.wait(), second.wait()) == ("DONE", "FAILED")

    listed = jobs.list_jobs(session=session).set_index("name")
    assert dict(listed["status"]) == {first.name: "DONE", second.name: "FAILED"}
    assert dict(listed["target_instances"].astype(int)) == {first.name: 1, second.name: 1}
    assert jobs.get_job(first.id, session=session).status == "DONE"
    assert jobs.get_job(first.name, session=session).get_logs() == "1"

    jobs.delete_job(first)

    assert list(jobs.list_jobs(session=session)["name"]) == [second.name]
    assert jobs.get_job(first.id, session=session).status == "DONE"  # from the history
    assert not session.sql("ls @TEST_DB.PUBLIC.PAYLOADS/FIRST/").collect()
    with pytest.raises(SnowparkSQLException, match="does not exist or not authorized") as refused:
        session.sql(f"describe service {first.id}").collect()
    assert refused.value.sql_error_code == 2003
    with pytest.raises(SnowparkSQLException):
        jobs.get_job("TEST_DB.PUBLIC.NEVER_WAS", session=session)


def test_dropping_a_job_that_runs_kills_it(submit: Submit, session: Any) -> None:
    from snowflake.ml import jobs

    job = submit("import os, time; print('pids', os.getpid()); time.sleep(600)")
    (pid,) = pids(job)

    jobs.delete_job(job)

    assert not alive(pid)
    assert job.status == "DELETED"


def test_status_log_and_events_are_told_by_functions(submit: Submit, session: Any) -> None:
    import json

    job = submit("print('hello')")
    assert job.wait() == "DONE"

    (status,) = json.loads(session.sql(f"select system$get_service_status('{job.id}')").collect()[0][0])
    assert (status["status"], status["instanceId"], status["containerName"]) == ("DONE", "0", "main")
    lines = session.sql(f"select log from table({job.id}!spcs_get_logs()) where instance_id = 0 order by timestamp")
    assert "hello" in [row[0] for row in lines.collect()]
    events = session.sql(f"select status from table({job.id}!spcs_get_events()) order by timestamp").collect()
    assert [row[0] for row in events] == ["PENDING", "RUNNING", "DONE"]
    (row,) = session.sql(f"show service containers in service {job.id}").collect()
    assert (row["status"], row["last_exit_code"]) == ("DONE", "0")
    (shown,) = session.sql("show job services like 'MAIN%' in test_db.public limit 5").collect()
    assert shown["status"] == "DONE"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"compute_pool": "NO_POOL"}, "Compute Pool 'NO_POOL' does not exist"),
        ({"external_access_integrations": ["NO_EAI"]}, "Integration 'NO_EAI' does not exist"),
        ({"target_instances": 2, "parallel": True}, "parallel=True"),
    ],
)
def test_what_cannot_run_is_refused(submit: Submit, options: dict[str, Any], words: str) -> None:
    from snowflake.snowpark.exceptions import SnowparkSQLException

    with pytest.raises(SnowparkSQLException, match=words):
        submit("print(1)", **options)


def test_a_name_without_a_suffix_is_taken_once(submit: Submit, session: Any) -> None:
    import json

    from snowflake.snowpark.exceptions import SnowparkSQLException

    job = submit("print(1)", name="ONCE")
    job.wait()
    options = {"STAGE_PATH": "@TEST_DB.PUBLIC.PAYLOADS/ONCE", "ARGS": ["bash", "/mnt/job_stage/system/startup.sh"]}
    chosen = {"GENERATE_SUFFIX": False, "ASYNC": True}
    texts = ["TEST_DB.PUBLIC.EXACT", "GPU_POOL", json.dumps(options), json.dumps(chosen)]
    call = "call system$execute_ml_job({}, {}, {}, {})".format(*(f"'{text}'" for text in texts))

    assert session.sql(call).collect()[0][0] == "TEST_DB.PUBLIC.EXACT"
    with pytest.raises(SnowparkSQLException, match="already exists") as refused:
        session.sql(call).collect()
    assert refused.value.sql_error_code == 2002
    assert re.fullmatch(r"TEST_DB\.PUBLIC\.ONCE_[0-9A-F]{12}", job.id)


def test_a_quoted_name_is_a_name(submit: Submit, session: Any) -> None:
    job = submit("print(1)", name='"my job"')

    assert job.wait() == "DONE"
    assert job.get_logs() == "1"


def test_a_payload_without_start_script_is_an_internal_error(submit: Submit, session: Any) -> None:
    blocker = submit("import time; time.sleep(600)", target_instances=2)
    until(lambda: blocker.status == "RUNNING")
    job = submit("print(1)", name="EMPTIED")
    session.sql("rm @TEST_DB.PUBLIC.PAYLOADS/EMPTIED/system/").collect()
    blocker.cancel()

    assert job.wait() == "INTERNAL_ERROR"


def test_a_killed_job_fails_with_137(submit: Submit, account: Account) -> None:
    account.faults.kill_job("VICTIM", after=0.2)

    job = submit("import time; time.sleep(600)", name="VICTIM")

    assert job.wait() == "FAILED"
    (found,) = account.jobs
    assert found.instances[0].exit_code == 137
    assert submit("print(1)", name="VICTIM_AGAIN").wait() == "DONE"  # it was ordered once


def test_a_preempted_node_fails_the_job_and_says_so(submit: Submit, session: Any, account: Account) -> None:
    from snowflake.ml import jobs

    account.faults.preempt_node("SPOT", instance=1)

    job = submit("import time; time.sleep(600)", name="SPOT", target_instances=2)

    assert job.wait() == "FAILED"
    assert list(jobs.list_jobs(session=session)["message"]) == ["node preempted"]
    assert account.pools.find("GPU_POOL").active_nodes == 0


def test_the_child_of_a_job_logs_in_and_reads_as_arctic_trainings_source_does(submit: Submit, session: Any) -> None:
    session.sql("create table notes as select 'a note' as S, 1 as N").collect()
    child = """
from snowflake.ml.data.data_connector import DataConnector
from snowflake.ml._internal.utils.connection_params import SnowflakeLoginOptions
from snowflake.snowpark import Session
try:
    session = Session.builder.getOrCreate()
except Exception:
    session = Session.builder.configs(SnowflakeLoginOptions()).getOrCreate()
print(DataConnector.from_sql("select * from notes", session=session).to_pandas().to_dict("records"))
"""
    script = "import subprocess, sys; subprocess.run([sys.executable, 'child.py'], check=True)"

    job = submit(script, files={"child.py": child})

    assert job.wait() == "DONE"
    assert job.get_logs().endswith("[{'S': 'a note', 'N': 1}]")
