"""The preflight against an emulated account, through a real session: each finding appears, and its SQL mends it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from soaptune.errors import Violation
from soaptune.handles.dataset_manifest import DatasetManifest
from soaptune.jobs.needs import Needs
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.snowflake.names import Name
from soaptune.snowflake.preflight import findings as preflight_findings
from soaptune.snowflake.preflight.reading import Reader
from soaptune.snowflake.tables.spec import Tables, TableSplit
from soaptune.tasks import SOAP
from soaptune.testing.snowflake.account import Account
from soaptune.train import TrainSpec
from soaptune.train.trainer import Trainer

pytestmark = pytest.mark.contract

Make = Callable[..., SnowflakeBackend]


@pytest.fixture
def backend(account: Account) -> Iterator[Make]:
    """Makes backends on the account; what is not said is what exists from the start."""
    made: list[SnowflakeBackend] = []

    def make(*, session_role: str | None = None, **changes: Any) -> SnowflakeBackend:
        parameters = {**account.connection_parameters, **({"role": session_role} if session_role else {})}
        arguments = {
            "compute_pool": "GPU_POOL",
            "database": "TEST_DB",
            "schema": "PUBLIC",
            "warehouse": "TEST_WH",
            "external_access_integrations": ["EAI"],
            "connection_parameters": parameters,
        }
        made.append(SnowflakeBackend(**{**arguments, **changes}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def _training(preset: str = "qwen3-1.7b-lora", **changes: Any) -> JobSpec:
    spec = TrainSpec.preset(preset).replace(**changes.pop("spec", {}))
    arguments: dict[str, Any] = {
        "name": "train",
        "kind": "model",
        "files": {"config.yaml": spec.to_yaml(), "requirements.txt": "arctic-training==0.8.0\n"},
        "entrypoint": ("arctic_training", "config.yaml"),
        "needs": Trainer(spec=spec)._needs(spec),
    }
    return JobSpec(**{**arguments, **changes})


def _command(kind: str = "command", **changes: Any) -> JobSpec:
    return JobSpec(**{"name": "run", "kind": kind, "entrypoint": ("python", "-V"), "needs": Needs(), **changes})


def findings(backend: SnowflakeBackend, spec: JobSpec, **more: Any) -> list[Violation]:
    return preflight_findings.findings(backend.settings, backend.connection, spec, **more)


def _run(session: Any, script: str) -> None:
    from snowflake.connector.util_text import split_statements

    for statement, _ in split_statements(io.StringIO(script), remove_comments=True):
        if statement.strip():
            session.sql(statement.strip().rstrip(";")).collect()


def _prepare(session: Any, backend: SnowflakeBackend) -> None:
    _run(session, backend.setup_sql(role="TEST_ROLE"))
    _run(session, "USE ROLE TEST_ROLE")


def _codes(found: list[Violation]) -> set[tuple[str, str, str]]:
    return {(violation.level, violation.code, violation.path) for violation in found}


def _only(found: list[Violation], code: str) -> Violation:
    (one,) = [violation for violation in found if violation.code == code]
    return one


def test_nothing_is_found_after_the_setup_script_has_run(session: Any, backend: Make):
    one = backend()
    assert any(violation.level == "error" for violation in one.preflight(_training()))
    _prepare(session, one)
    assert one.preflight(_training()) == []


def test_the_setup_script_can_be_run_again(session: Any, backend: Make):
    _prepare(session, backend())
    _prepare(session, backend())


def test_the_preflight_only_reads(account: Account, session: Any, backend: Make):
    one = backend()
    _prepare(session, one)
    one.session()
    before = len(account.statements)
    one.preflight(_training(secrets={"HF_TOKEN": "HF_TOKEN"}))
    words = {statement.sql.split()[0].upper() for statement in account.statements[before:]}
    assert words <= {"SELECT", "SHOW", "DESCRIBE", "CALL"}


def test_names_and_values_are_quoted_and_bound(account: Account, backend: Make):
    evil = '"my""table; DROP"'
    one = backend(database=evil, schema='"sélect"', warehouse=evil, external_access_integrations=[evil])
    found = one.preflight(_command(files={"requirements.txt": "vllm\n"}))
    log = account.statements
    assert not any('my"table' in statement.sql.replace('my""table', "") for statement in log)
    assert any('my"table; DROP' in statement.binds for statement in log)
    assert {"no-such-warehouse", "no-such-database", "no-such-integration"} <= {v.code for v in found}
    assert all('my"table' not in violation.hint.replace('my""table', "") for violation in found)


def test_without_a_connection_there_is_one_finding_and_no_password_in_it(account: Account):
    parameters = {**account.connection_parameters, "password": "wrong-secret", "login_timeout": 5}
    one = SnowflakeBackend(compute_pool="P", database="D", schema="S", connection_parameters=parameters)
    (found,) = findings(one, _training())
    assert (found.code, found.level, found.path) == ("cannot-connect", "error", "backend")
    assert "wrong-secret" not in str(found)


def test_everything_is_found_at_once(backend: Make):
    one = backend(
        compute_pool="NOWHERE",
        database="NO_DB",
        schema="NO_SCHEMA",
        warehouse="NO_WH",
        external_access_integrations=["X"],
    )
    missing = Name("TEST_DB", "PUBLIC", "NO_TABLE")
    found = findings(one, _training(secrets={"HF_TOKEN": "TEST_DB.PUBLIC.NONE"}), tables=[(missing, ["A"])])
    assert {violation.code for violation in found} >= {
        "no-such-pool",
        "no-such-database",
        "no-such-warehouse",
        "no-such-integration",
        "no-such-table",
    }
    assert all(violation.hint for violation in found if violation.level == "error")


def test_the_hint_of_a_missing_pool_makes_a_fitting_one(session: Any, backend: Make):
    one = backend(compute_pool="NEW_POOL", target_instances=2)
    found = _only(one.preflight(_training()), "no-such-pool")
    assert "INSTANCE_FAMILY = GPU_NV_M" in found.hint
    assert "MAX_NODES = 2" in found.hint
    _run(session, found.hint)
    assert "no-such-pool" not in {violation.code for violation in one.preflight(_training())}


def test_the_hints_of_a_missing_warehouse_and_schema_make_them(session: Any, backend: Make):
    one = backend(schema="NEW_SCHEMA", warehouse="NEW_WH")
    for code in ("no-such-schema", "no-such-warehouse"):
        _run(session, _only(findings(one, _command()), code).hint)
    assert {violation.code for violation in one.preflight(_command())} == {"no-such-integration"}


def test_a_suspended_pool_is_fine_if_it_wakes_up_by_itself(session: Any, backend: Make):
    one = backend(external_access_integrations=())
    _run(session, "ALTER COMPUTE POOL GPU_POOL SUSPEND")
    assert one.preflight(_command()) == []
    _run(session, "ALTER COMPUTE POOL GPU_POOL SET AUTO_RESUME = FALSE")
    found = _only(one.preflight(_command()), "pool-suspended")
    assert found.level == "error"
    _run(session, found.hint.partition(" or ")[0])
    assert one.preflight(_command()) == []


def test_a_pool_with_too_few_nodes_is_told_and_mended(session: Any, backend: Make):
    one = backend(target_instances=3, external_access_integrations=())
    found = _only(one.preflight(_command()), "pool-too-small")
    assert (found.path, found.level) == ("backend.target_instances", "error")
    _run(session, found.hint)
    # What is left is told whenever there are several: it was never seen to work.
    assert [(left.code, left.level) for left in one.preflight(_command())] == [("several-nodes-untried", "warning")]


def test_a_job_that_does_not_state_its_needs_is_reported_as_unchecked(backend: Make):
    one = backend(external_access_integrations=())
    assert _codes(one.preflight(_command(needs=None))) == {("warning", "unchecked", "needs")}
    assert one.preflight(_command()) == []


def test_more_gpus_than_a_node_has_are_an_error_that_names_a_larger_family(backend: Make):
    one = backend(external_access_integrations=())
    found = _only(one.preflight(_command(resources={"gpus": 8})), "too-few-gpus")
    assert found.level == "error"
    assert "GPU_NV_L" in found.hint
    assert one.preflight(_command(resources={"gpus": 4})) == []


def test_a_model_that_does_not_fit_is_a_warning_with_its_arithmetic(session: Any, backend: Make):
    one = backend()
    _prepare(session, one)
    job = _training("qwen3-1.7b-full", spec={"model": "Qwen/Qwen3-32B"})
    found = {violation.code: violation for violation in one.preflight(job)}
    assert set(found) == {"main-memory"}
    assert found["main-memory"].level == "warning"
    assert "512 GB" in found["main-memory"].message
    no_offload = _training(
        "qwen3-1.7b-full", spec={"model": "Qwen/Qwen3-32B", "deepspeed": {"offload_optimizer": False}}
    )
    (told,) = one.preflight(no_offload)
    assert (told.code, told.level) == ("gpu-memory", "warning")
    assert "ZeRO stage 3 over 4 GPU(s)" in told.message


def test_a_model_whose_name_hides_its_size_is_told_as_unchecked(session: Any, backend: Make):
    one = backend()
    _prepare(session, one)
    (found,) = one.preflight(_training(spec={"model": "microsoft/phi-2"}))
    assert (found.code, found.level) == ("memory-unchecked", "warning")


def test_training_on_a_pool_without_gpus_is_a_warning(session: Any, backend: Make):
    one = backend(compute_pool="CPUS")
    _prepare(session, one)
    _run(session, "DROP COMPUTE POOL CPUS; CREATE COMPUTE POOL CPUS MIN_NODES=1 MAX_NODES=1 INSTANCE_FAMILY=CPU_X64_L;")
    _run(session, "GRANT USAGE ON COMPUTE POOL CPUS TO ROLE TEST_ROLE")
    (found,) = one.preflight(_training())
    assert (found.code, found.level) == ("without-gpu", "warning")
    assert one.preflight(_training("tiny-lora")) == []


def test_a_missing_integration_is_made_by_its_hint(session: Any, backend: Make):
    one = backend()
    found = one.preflight(_training())
    assert _codes(found) == {("error", "no-such-integration", "backend.external_access_integrations[0]")}
    _run(session, found[0].hint)
    assert one.preflight(_training()) == []


def test_without_an_integration_packages_and_models_are_out_of_reach(backend: Make):
    found = backend(external_access_integrations=()).preflight(_training())
    assert _codes(found) == {
        ("error", "egress-blocked", "backend.external_access_integrations"),
        ("warning", "egress-blocked", "backend.external_access_integrations"),
    }
    assert "pypi.org" in found[0].message
    assert "huggingface.co" in found[0].message


def test_an_integration_that_is_switched_off_is_an_error(session: Any, backend: Make):
    one = backend()
    _run(session, "CREATE NETWORK RULE R MODE = EGRESS TYPE = HOST_PORT VALUE_LIST = ('0.0.0.0:443')")
    _run(session, "CREATE EXTERNAL ACCESS INTEGRATION EAI ALLOWED_NETWORK_RULES = (R) ENABLED = FALSE")
    (found,) = one.preflight(_training())
    assert (found.code, found.level) == ("integration-disabled", "error")
    assert found.hint == 'ALTER EXTERNAL ACCESS INTEGRATION "EAI" SET ENABLED = TRUE;'


def test_a_rule_for_every_host_lets_everything_through(session: Any, backend: Make):
    _run(session, "CREATE NETWORK RULE R MODE = EGRESS TYPE = HOST_PORT VALUE_LIST = ('0.0.0.0:443', '0.0.0.0:80')")
    _run(session, "CREATE EXTERNAL ACCESS INTEGRATION EAI ALLOWED_NETWORK_RULES = (R) ENABLED = TRUE")
    assert backend().preflight(_training()) == []


def test_the_public_samples_rule_lacks_only_the_hubs_newer_file_servers(session: Any, backend: Make):
    hub = ", ".join(f"'{name}huggingface.co:443'" for name in ("", "www.", "cdn-lfs.", "cdn-lfs-us-1."))
    _run(session, f"CREATE NETWORK RULE HUB MODE = 'EGRESS' TYPE = 'HOST_PORT' VALUE_LIST = ({hub})")
    rules = "SNOWFLAKE.EXTERNAL_ACCESS.PYPI_RULE, TEST_DB.PUBLIC.HUB"
    _run(session, f"CREATE EXTERNAL ACCESS INTEGRATION EAI ALLOWED_NETWORK_RULES = ({rules}) ENABLED = true")
    (found,) = backend().preflight(_training())
    assert (found.code, found.level) == ("egress-blocked", "warning")
    assert "pypi.org" not in found.message
    assert found.hint.startswith('ALTER NETWORK RULE "TEST_DB"."PUBLIC"."HUB" SET VALUE_LIST = (\'huggingface.co:443\'')
    assert "'*.xethub.hf.co:443'" in found.hint


def test_a_rule_that_may_not_be_read_is_told_as_unchecked(account: Account, session: Any, backend: Make):
    _run(session, "CREATE NETWORK RULE R MODE = EGRESS TYPE = HOST_PORT VALUE_LIST = ('0.0.0.0:443')")
    _run(session, "CREATE EXTERNAL ACCESS INTEGRATION EAI ALLOWED_NETWORK_RULES = (R) ENABLED = TRUE")
    # The integration still names it, as it does a rule whose owner shows it to nobody.
    account.integrations.rules.clear()
    (found,) = backend().preflight(_training())
    assert (found.code, found.level) == ("unchecked", "warning")
    assert "the network rule TEST_DB.PUBLIC.R cannot be read" in found.message


def test_a_role_without_privileges_is_told_each_that_it_lacks(session: Any, backend: Make):
    _prepare(session, backend())
    _run(session, "CREATE ROLE POOR")
    _run(session, "CREATE TABLE ROWS_TRAIN (A VARCHAR)")
    table = (Name("TEST_DB", "PUBLIC", "ROWS_TRAIN"), ["A"])
    one = backend(session_role="POOR")
    found = findings(one, _training(), tables=[table])
    assert {violation.code for violation in found} == {"missing-privilege"}
    lacking = {violation.hint.removesuffix(' TO ROLE "POOR";') for violation in found if violation.level == "error"}
    assert lacking == {
        'GRANT USAGE ON COMPUTE POOL "GPU_POOL"',
        'GRANT USAGE ON WAREHOUSE "TEST_WH"',
        'GRANT USAGE ON INTEGRATION "EAI"',
        'GRANT USAGE ON DATABASE "TEST_DB"',
        'GRANT USAGE ON SCHEMA "TEST_DB"."PUBLIC"',
        'GRANT CREATE SERVICE ON SCHEMA "TEST_DB"."PUBLIC"',
        'GRANT READ ON STAGE "TEST_DB"."PUBLIC"."SOAPTUNE_STAGE"',
        'GRANT WRITE ON STAGE "TEST_DB"."PUBLIC"."SOAPTUNE_STAGE"',
        'GRANT SELECT ON TABLE "TEST_DB"."PUBLIC"."ROWS_TRAIN"',
    }
    for violation in found:
        _run(session, violation.hint)
    assert findings(one, _training(), tables=[table]) == []


@pytest.mark.parametrize(
    ("kind", "privilege"),
    [
        ("data", "CREATE TABLE"),
        ("report", "CREATE TABLE"),
        ("endpoint", "CREATE MODEL"),
        ("model", "CREATE EXPERIMENT"),
    ],
)
def test_what_a_jobs_kind_makes_needs_its_privilege(session: Any, backend: Make, kind: str, privilege: str):
    _run(session, "CREATE ROLE POOR")
    found = findings(backend(session_role="POOR"), _command(kind))
    assert any(violation.hint.startswith(f"GRANT {privilege} ON SCHEMA") for violation in found)
    plain = findings(backend(session_role="POOR"), _command())
    assert not any(violation.hint.startswith(f"GRANT {privilege} ON") for violation in plain)


def test_a_missing_stage_is_made_by_the_job_if_the_role_may(session: Any, backend: Make):
    assert backend(external_access_integrations=()).preflight(_command()) == []
    _run(session, "CREATE ROLE POOR")
    found = findings(backend(session_role="POOR", external_access_integrations=()), _command())
    (stage,) = [violation for violation in found if violation.path == "backend.stage"]
    assert stage.message.startswith('there is no stage "TEST_DB"."PUBLIC"."SOAPTUNE_STAGE"')
    assert stage.hint == 'GRANT CREATE STAGE ON SCHEMA "TEST_DB"."PUBLIC" TO ROLE "POOR";'


def test_a_stage_that_jobs_cannot_mount_is_an_error(session: Any, backend: Make):
    _run(session, "CREATE STAGE SOAPTUNE_STAGE")
    (found,) = backend(external_access_integrations=()).preflight(_command())
    assert (found.code, found.level) == ("client-encryption", "error")
    assert "ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE')" in found.hint


def test_privileges_come_through_granted_roles_and_public(session: Any, backend: Make):
    _run(
        session,
        "CREATE ROLE CHILD; CREATE ROLE PARENT; GRANT ROLE TEST_ROLE TO ROLE CHILD; GRANT ROLE CHILD TO ROLE PARENT",
    )
    _run(session, "GRANT DATABASE ROLE OTHER_DB.READER TO ROLE PARENT")
    one = backend(session_role="PARENT", external_access_integrations=())
    assert one.preflight(_command()) == []


def test_unreadable_privileges_make_a_lack_a_warning_and_are_named(session: Any, backend: Make):
    # The emulator cannot show a database role's privileges, as an account may not.
    _run(session, "CREATE ROLE POOR; GRANT DATABASE ROLE TEST_DB.READER TO ROLE POOR")
    found = findings(backend(session_role="POOR", external_access_integrations=()), _command())
    assert {violation.level for violation in found} == {"warning"}
    assert 'DATABASE ROLE "TEST_DB"."READER"' in _only(found, "unchecked").message


def test_a_role_that_the_session_cannot_take_on_is_told_with_the_rest(backend: Make):
    found = findings(backend(role="NO_SUCH_ROLE", target_instances=5), _command())
    assert ("error", "other-role", "backend.role") in _codes(found)
    assert ("error", "pool-too-small", "backend.target_instances") in _codes(found)


def test_an_administrators_role_is_a_warning(backend: Make):
    found = findings(backend(session_role="ACCOUNTADMIN", external_access_integrations=()), _command())
    assert _only(found, "administrator-role").level == "warning"
    assert {violation.level for violation in found} == {"warning"}


def test_a_secret_that_is_not_there_is_an_error(session: Any, backend: Make):
    one = backend(external_access_integrations=())
    job = _command(secrets={"HF_TOKEN": "HF_TOKEN"})
    (found,) = one.preflight(job)
    assert (found.code, found.path) == ("no-such-secret", "secrets[HF_TOKEN]")
    _run(session, found.hint)
    assert one.preflight(job) == []


def test_tables_are_looked_at_with_their_columns(session: Any, backend: Make):
    _run(session, 'CREATE TABLE SOAP_TRAIN (DIALOGUE VARCHAR, S VARCHAR, "o" VARCHAR)')
    one = backend(external_access_integrations=())
    there, gone = Name("TEST_DB", "PUBLIC", "SOAP_TRAIN"), Name("TEST_DB", "PUBLIC", "SOAP_TEST")
    assert findings(one, _command(), tables=[(there, ["DIALOGUE", "S", "o"])]) == []
    lacking, missing = findings(one, _command(), tables=[(there, ["DIALOGUE", "O", "A"]), (gone, ["S"])])
    assert (lacking.code, missing.code) == ("missing-column", "no-such-table")
    assert "has no column O, A; it has DIALOGUE, S, o" in lacking.message


def test_tables_among_a_jobs_inputs_are_looked_at(backend: Make):
    source = Tables(
        database="TEST_DB",
        db_schema="PUBLIC",
        name="SOAP",
        splits={"train": TableSplit(table=("TEST_DB", "PUBLIC", "SOAP_TRAIN"), columns={"dialogue": "DIALOGUE"})},
        manifest=DatasetManifest(
            fingerprint="sha256:0", task=SOAP.spec(), counts={"train": 1}, split_fingerprints={}, how={}
        ),
    )
    found = findings(backend(external_access_integrations=()), _command(inputs={"data": source}))
    assert [(violation.code, violation.path) for violation in found] == [
        ("no-such-table", 'tables["TEST_DB"."PUBLIC"."SOAP_TRAIN"]')
    ]


def test_the_image_is_asked_for_as_the_sdk_asks(account: Account, backend: Make):
    one = backend(external_access_integrations=(), runtime_environment="2.4.0")
    one.preflight(_command())
    (asked,) = [statement.sql for statement in account.statements if "GET_ML_JOB_RUNTIME" in statement.sql]
    assert asked.startswith("CALL SYSTEM$GET_ML_JOB_RUNTIME('GPU_POOL', '{\"pythonVersion\": \"3.")
    assert '"runtimeEnvironment": "2.4.0"' in asked


def test_an_answer_that_does_not_come_is_told_and_the_rest_is_checked(account: Account, backend: Make):
    one = backend(external_access_integrations=(), target_instances=5)
    one.session()
    account.faults.drop_connection(before="SHOW WAREHOUSES")
    found = one.preflight(_command())
    assert ("warning", "unchecked", "backend.warehouse") in _codes(found)
    assert ("error", "pool-too-small", "backend.target_instances") in _codes(found)


def test_every_family_that_the_account_offers_is_known_or_read_from_it(session: Any):
    from soaptune.snowflake.preflight.families import FAMILIES, from_row

    for row in Reader(session).rows("SHOW COMPUTE POOL INSTANCE FAMILIES"):
        read = from_row(row)
        assert (read.gpus, read.cpus) == (FAMILIES[read.name].gpus, FAMILIES[read.name].cpus)
