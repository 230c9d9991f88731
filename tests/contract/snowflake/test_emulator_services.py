"""Inference services: the real SDK makes them, and they really answer, in SQL and over HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
from snowflake.ml.registry import Registry
from snowflake.snowpark import Session
from snowflake.snowpark.exceptions import SnowparkSQLException

import soaptune
from soaptune.testing.snowflake import emulated_snowflake
from soaptune.testing.snowflake.account import Account
from soaptune.testing.snowflake.inference import Service
from soaptune.testing.snowflake.names import Name
from tests.contract.snowflake.emulator_models import ROWS, log

NAME = Name("TEST_DB", "PUBLIC", "ADDING")


@pytest.fixture(scope="module", autouse=True)
def _logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The SDK writes a log of every deployment into the user's state folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def version(shared_account: Account, shared_session: Session) -> Any:
    registry = Registry(shared_session, database_name=shared_account.database, schema_name=shared_account.schema)
    return log(registry, "ADDER", "V1", target_platforms=["WAREHOUSE", "SNOWPARK_CONTAINER_SERVICES"])


def create(version: Any, name: str, **options: Any) -> str:
    job = version.create_service(service_name=name, service_compute_pool="GPU_POOL", block=False, **options)
    return str(job.result()[0][0])


@pytest.fixture(scope="module")
def service(shared_account: Account, version: Any) -> Service:
    assert "ADDING" in create(version, "ADDING", ingress_enabled=True, num_workers=2)
    return shared_account.services[NAME]


@pytest.fixture(scope="module")
def url(version: Any, service: Service) -> str:
    return f"http://{version.list_services()['inference_endpoint'][0]}"


def post(url: str, body: Any, *, method: str = "predict", token: str = "token") -> requests.Response:
    headers = {"Authorization": f'Snowflake Token="{token}"'}
    return requests.post(f"{url}/{method}", json=body, headers=headers, timeout=60)


def ended(pid: int, patience: float = 10.0) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_service_is_listed_with_an_address_that_answers(version: Any, service: Service, url: str) -> None:
    listed = version.list_services().set_index("name").loc[NAME.dotted]
    assert listed["status"] == "RUNNING"
    assert not listed["autocapture_enabled"]
    body = {"dataframe_records": [{"a": 1, "b": 2.5}]}
    assert post(url, body).json() == {"data": [[0, {"total": 3.5}]]}
    # Inside the account nobody asks for a token.
    assert requests.post(f"{listed['internal_endpoint']}/predict", json=body, timeout=60).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"a": 1, "b": 2.5}, {"b": 4.5, "a": 3}]},
        {"dataframe_split": {"index": [0, 1], "columns": ["b", "a"], "data": [[2.5, 1], [4.5, 3]]}},
        {"data": [[0, 1, 2.5], [1, 3, 4.5]]},
        {"data": [[0, {"a": 1, "b": 2.5}], [1, {"a": 3, "b": 4.5}]]},
    ],
)
def test_every_form_of_body_is_read(url: str, body: dict[str, Any]) -> None:
    assert post(url, body).json() == {"data": [[0, {"total": 3.5}], [1, {"total": 7.5}]]}
    doubled = post(url, {**body, "params": {"factor": 2}})
    assert doubled.json() == {"data": [[0, {"total": 7.0}], [1, {"total": 15.0}]]}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "must have one of"),
        ([], "must be a JSON object"),
        ({"dataframe_records": [{"a": 1}]}, "lacks ['b']"),
        ({"dataframe_records": [{"a": "x", "b": 1}]}, "do not fit the method's signature"),
        ({"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, "a list of lists of that length"),
        ({"data": [[0, 1]]}, "a row has 1 values"),
        ({"data": [[0, 1, 2.5]], "params": {"nope": 1}}, "unknown parameters ['nope']"),
        ({"data": [[0, 1, 2.5]], "params": {"factor": "x"}}, "the parameter 'factor' cannot be 'x'"),
    ],
)
def test_a_wrong_body_is_a_bad_request_that_says_why(url: str, body: Any, problem: str) -> None:
    answer = post(url, body)
    assert answer.status_code == 400
    assert problem in answer.json()["error"]


def test_a_wrong_token_finds_nothing(url: str) -> None:
    body = {"data": [[0, 1, 2.5]]}
    assert post(url, body, token="wrong").status_code == 404
    assert requests.post(f"{url}/predict", json=body, timeout=60).status_code == 404
    assert post(url, body, method="nope").status_code == 404


def test_an_error_of_the_model_is_a_server_error_and_in_the_log(
    url: str, service: Service, shared_session: Session
) -> None:
    answer = post(url, {"data": [[0, -1, 2.5]]})
    assert (answer.status_code, answer.json()) == (500, {"error": "ArithmeticError: below zero"})
    (row,) = shared_session.sql("CALL SYSTEM$GET_SERVICE_LOGS('ADDING', '0', 'model-inference')").collect()
    assert "ArithmeticError: below zero" in row[0]


def test_the_ingress_gives_up_what_takes_too_long(url: str, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert service.ingress is not None
    assert service.ingress.timeout == 60
    monkeypatch.setattr(service.ingress, "timeout", 0.3)
    begun = time.monotonic()
    assert post(url, {"data": [[0, 99, 2.5]]}).status_code == 504
    assert time.monotonic() - begun < 4


def test_sql_calls_the_service(version: Any, service: Service, shared_session: Session) -> None:
    found = version.run(ROWS, function_name="predict", service_name="ADDING", params={"factor": 2.0})
    assert found["total"].tolist() == [23.0, 45.0]
    sql = "SELECT 'it''s!x(' AS T, ADDING!PREDICT(A, 0.5, 2)['total']::FLOAT AS N FROM (SELECT 1 AS A) -- S!F(1)"
    (row,) = shared_session.sql(sql).collect()
    assert (row["T"], row["N"]) == ("it's!x(", 3.0)


def test_an_error_of_the_model_is_an_error_of_the_statement(service: Service, shared_session: Session) -> None:
    with pytest.raises(SnowparkSQLException, match="below zero"):
        shared_session.sql("SELECT ADDING!PREDICT(-1, 0.5, 1)").collect()
    with pytest.raises(SnowparkSQLException, match="Unknown function NOPE"):
        shared_session.sql("SELECT ADDING!NOPE(1)").collect()
    with pytest.raises(SnowparkSQLException, match=r"Service 'TEST_DB.PUBLIC.NOWHERE' does not exist"):
        shared_session.sql("SELECT NOWHERE!PREDICT(1)").collect()


def test_the_warehouse_runs_a_version_too(version: Any) -> None:
    assert version.run(ROWS, function_name="predict")["total"].tolist() == [11.5, 22.5]


def test_a_service_is_described(service: Service, shared_session: Session) -> None:
    (row,) = shared_session.sql("DESCRIBE SERVICE ADDING").collect()
    assert (row["name"], row["status"], row["compute_pool"]) == ("ADDING", "RUNNING", "GPU_POOL")
    (container,) = shared_session.sql("SHOW SERVICE CONTAINERS IN SERVICE ADDING").collect()
    assert (container["service_status"], container["status"]) == ("RUNNING", "READY")
    (shown,) = shared_session.sql("SHOW SERVICES LIKE 'add%' IN SCHEMA TEST_DB.PUBLIC").collect()
    assert shown["name"] == "ADDING"
    assert shared_session.sql("SHOW SERVICES IN SCHEMA TEST_DB.PUBLIC STARTS WITH 'add'").collect() == []
    (endpoint,) = shared_session.sql("SHOW ENDPOINTS IN SERVICE ADDING").collect()
    assert (endpoint["name"], endpoint["is_public"]) == ("inference", "true")


def test_a_suspended_service_wakes_on_the_next_request(
    url: str, version: Any, service: Service, shared_session: Session
) -> None:
    assert service.container is not None
    pid = service.container.pid
    shared_session.sql("ALTER SERVICE ADDING SUSPEND").collect()
    assert ended(pid)
    assert version.list_services()["status"].tolist() == ["SUSPENDED"]
    assert post(url, {"data": [[0, 1, 2.5]]}).status_code == 200
    assert version.list_services()["status"].tolist() == ["RUNNING"]
    shared_session.sql("ALTER SERVICE ADDING SUSPEND").collect()
    shared_session.sql("ALTER SERVICE ADDING RESUME").collect()
    assert service.status == "RUNNING"


def test_a_container_that_died_is_started_again(url: str, service: Service) -> None:
    restarts = service.restarts
    assert post(url, {"data": [[0, 666, 2.5]]}).status_code == 503
    assert post(url, {"data": [[0, 1, 2.5]]}).status_code == 200
    assert service.restarts == restarts + 1


def test_instances_are_changed_within_reason(service: Service, shared_session: Session) -> None:
    shared_session.sql("ALTER SERVICE ADDING SET MIN_INSTANCES = 1 MAX_INSTANCES = 2").collect()
    assert (service.min_instances, service.max_instances) == (1, 2)
    with pytest.raises(SnowparkSQLException, match="exclude each other"):
        shared_session.sql("ALTER SERVICE ADDING SET MIN_INSTANCES = 3").collect()
    with pytest.raises(SnowparkSQLException, match="knows no such form"):
        shared_session.sql("ALTER SERVICE ADDING SET LOG_LEVEL = 'INFO'").collect()


def test_an_image_is_built_once_and_its_build_leaves_a_log(shared_account: Account, service: Service) -> None:
    builds = [found for found in shared_account.services.all() if found.kind == "model-build"]
    assert [found.status for found in builds] == ["DONE"]
    assert builds[0].name.name.startswith("MODEL_BUILD_")
    assert "building the image of TEST_DB.PUBLIC.ADDER version V1" in builds[0].log.read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"service_name": "ADDING"}, "already exists"),
        ({"service_compute_pool": "NOPE"}, "Compute Pool 'NOPE' does not exist"),
        ({"min_instances": 2, "max_instances": 1}, "exclude each other"),
        ({"min_instances": 9, "max_instances": 9}, "9 instances do not fit"),
    ],
)
def test_what_cannot_run_is_refused(
    shared_account: Account, version: Any, service: Service, options: dict[str, Any], problem: str
) -> None:
    wanted = {"service_name": "REFUSED", "service_compute_pool": "GPU_POOL", **options}
    with pytest.raises(Exception, match=problem):
        version.create_service(**wanted, block=False).result()
    assert shared_account.services.get(NAME._replace(name="REFUSED")) is None


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("[1]", "must be a mapping"),
        ("{models: [], service: {}}", "0 models"),
        ("{models: [{name: ADDER, version: V1}], service: {name: X, surprise: 1}}", "surprise"),
        (
            "{models: [{name: ADDER, version: V1}], service: {name: X, compute_pool: GPU_POOL, gpu: 9}}",
            "a node of GPU_POOL .GPU_NV_M. has 4",
        ),
        (
            "{models: [{name: ADDER, version: V1}], service: {name: X, compute_pool: GPU_POOL,"
            " inference_engine_spec: {inference_engine_name: vllm}}}",
            "needs a GPU",
        ),
        (
            "{models: [{name: ADDER, version: V1}], service: {name: X, compute_pool: GPU_POOL, gpu: 1,"
            " inference_engine_spec: {inference_engine_name: vllm, inference_engine_args: [max=1]}}}",
            "do not begin with '--'",
        ),
    ],
)
def test_a_specification_is_checked(shared_session: Session, version: Any, spec: str, problem: str) -> None:
    with pytest.raises(SnowparkSQLException, match=problem):
        shared_session.sql(f"CALL SYSTEM$DEPLOY_MODEL('{spec}')").collect()


def test_without_ingress_there_is_no_address_outside(version: Any, shared_account: Account) -> None:
    create(version, "CLOSED")
    listed = version.list_services().set_index("name").loc["TEST_DB.PUBLIC.CLOSED"]
    assert listed["inference_endpoint"] is None
    made = shared_account.services[NAME._replace(name="CLOSED")]
    assert made.container is not None
    pid = made.container.pid
    version.delete_service("CLOSED")
    assert ended(pid, patience=0.1)
    assert "TEST_DB.PUBLIC.CLOSED" not in set(version.list_services().get("name", []))


def test_a_model_that_cannot_be_loaded_fails_the_service(
    shared_account: Account, shared_session: Session, version: Any
) -> None:
    registry = Registry(shared_session, database_name="TEST_DB", schema_name="PUBLIC")
    broken = log(registry, "BROKEN", "V1", target_platforms=["SNOWPARK_CONTAINER_SERVICES"])
    folder = shared_account.models[NAME._replace(name="BROKEN")].version("V1").packed
    for pickle in folder.rglob("*.pkl"):
        pickle.write_bytes(b"no pickle")
    with pytest.raises(Exception, match="the container ended with code 1"):
        create(broken, "FAILING")
    assert broken.list_services()["status"].tolist() == ["FAILED"]
    (row,) = shared_session.sql("CALL SYSTEM$GET_SERVICE_LOGS('FAILING', '0', 'model-inference')").collect()
    assert "UnpicklingError" in row[0]
    broken.delete_service("FAILING")


def test_a_service_waits_for_nodes(shared_account: Account, version: Any) -> None:
    pools = shared_account.pools
    free = pools.find("GPU_POOL").max_nodes - pools.find("GPU_POOL").active_nodes
    assert pools.take("GPU_POOL", "somebody else", free, free) == free
    job = version.create_service(service_name="WAITING", service_compute_pool="GPU_POOL", block=False)
    try:
        time.sleep(1)
        assert not job.is_done()
        statuses = version.list_services().set_index("name")["status"]
        assert statuses["TEST_DB.PUBLIC.WAITING"] == "PENDING"
    finally:
        pools.give("GPU_POOL", "somebody else")
    job.result()
    version.delete_service("WAITING")


def test_nothing_is_left_when_the_account_closes() -> None:
    with emulated_snowflake() as account:
        session = Session.builder.configs(account.connection_parameters).create()
        version = log(Registry(session), "ADDER", "V1", target_platforms=["SNOWPARK_CONTAINER_SERVICES"])
        create(version, "ADDING", ingress_enabled=True)
        service = account.services[NAME]
        assert service.container is not None
        assert service.ingress is not None
        pid, address = service.container.pid, service.ingress.address
        session.close()
    assert ended(pid, patience=0.1)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{address}", timeout=5)


def test_a_container_does_not_outlive_who_started_it(shared_account: Account, version: Any, tmp_path: Path) -> None:
    packed = shared_account.models[NAME._replace(name="ADDER")].version("V1").packed
    program = (
        "import pathlib, sys, time\n"
        "from soaptune.testing.snowflake.service_container import Container\n"
        "model, scratch = map(pathlib.Path, sys.argv[1:])\n"
        "made = Container(model, scratch, scratch / 'log')\n"
        "made.wait_until_ready()\n"
        "print(made.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    path = str(Path(soaptune.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", program, str(packed), str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.send_signal(signal.SIGKILL)
    assert ended(pid)


@pytest.mark.e2e
def test_a_chat_model_answers_in_sql_and_over_http(shared_account: Account, shared_session: Session) -> None:
    transformers = pytest.importorskip("transformers")
    from snowflake.ml.model import openai_signatures

    import soaptune.tiny

    registry = Registry(shared_session, database_name="TEST_DB", schema_name="PUBLIC")
    version = registry.log_model(
        transformers.pipeline("text-generation", model=str(soaptune.tiny.path())),
        model_name="CHAT",
        version_name="V1",
        signatures=openai_signatures.OPENAI_CHAT_WITH_PARAMS_SIGNATURE_WITH_CONTENT_FORMAT_STRING,
        target_platforms=["SNOWPARK_CONTAINER_SERVICES"],
    )
    version.create_service(
        service_name="CHATTING",
        service_compute_pool="GPU_POOL",
        ingress_enabled=True,
        gpu_requests="1",
        inference_engine_options={"engine": "vllm", "engine_args_override": ["--max-model-len=8192"]},
    )
    service = shared_account.services[NAME._replace(name="CHATTING")]
    assert (service.engine, service.engine_args) == ("vllm", ["--max-model-len=8192"])

    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "It's a test."}]
    params = {"temperature": 0.0, "max_completion_tokens": 8}
    found = version.run(
        pd.DataFrame({"messages": [messages, messages[1:]]}),
        function_name="__call__",
        service_name="CHATTING",
        params=params,
    )
    in_sql = found["choices"][0][0]["message"]["content"]
    assert found["usage"][0]["prompt_tokens"] > found["usage"][1]["prompt_tokens"]

    url = f"http://{version.list_services()['inference_endpoint'][0]}"
    answer = post(url, {"dataframe_records": [{"messages": messages}], "params": params}, method="--call--").json()
    assert answer["data"][0][1]["choices"][0]["message"]["content"] == in_sql
    version.delete_service("CHATTING")
