from __future__ import annotations

import copy
import pickle
import sys
import traceback
from typing import Any

import cloudpickle
import pytest

import soaptune
from soaptune.errors import BackendError, ConfigError
from soaptune.snowflake.backend import SnowflakeBackend

_GOOD: dict[str, Any] = {"compute_pool": "GPU_POOL", "database": "LLM_DEMO", "schema": "PUBLIC"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"compute_pool": "my pool"}, "compute_pool"),
        ({"compute_pool": "p'; DROP"}, "compute_pool"),
        ({"database": ""}, "database"),
        ({"database": "a/b"}, "database"),
        ({"schema": "it's"}, "schema"),
        ({"stage": "a.b.c.d"}, "stage"),
        ({"stage": '"half'}, "stage"),
        ({"warehouse": ""}, "warehouse"),
        ({"runtime_environment": "1'); DROP TABLE x"}, "runtime_environment"),
        ({"target_instances": 0}, "target_instances"),
        ({"target_instances": True}, "target_instances"),
        ({"min_instances": 2}, "min_instances"),
        ({"env": {"HF_TOKEN": "hf_abc"}}, "HF_TOKEN"),
        ({"env": {"not a name": "x"}}, "not a name"),
        ({"pip_requirements": ["a\nb"]}, "pip_requirements"),
        ({"pip_requirements": "torch"}, "pip_requirements"),
        ({"external_access_integrations": "EAI"}, "external_access_integrations"),
        ({"connection_name": "a", "connection_parameters": {}}, "exclude each other"),
        ({"connection_name": "a", "session": object()}, "exclude each other"),
    ],
)
def test_arguments_that_cannot_work_are_refused_by_name(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SnowflakeBackend(**{**_GOOD, **arguments})


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"compute_pool.*target_instances"):
        SnowflakeBackend(**{**_GOOD, "compute_pool": "a b", "target_instances": 0})


def test_no_value_of_a_secret_is_quoted_back() -> None:
    with pytest.raises(ConfigError) as caught:
        SnowflakeBackend(**_GOOD, env={"HF_TOKEN": "hf_very_secret"})

    assert "hf_very_secret" not in str(caught.value)


def test_names_follow_the_rules_of_sql() -> None:
    backend = SnowflakeBackend(compute_pool="gpu_pool", database="llm_demo", schema='"Public"', stage='"my ""stage"')

    assert backend.stage_name.stage == '@"LLM_DEMO"."Public"."my ""stage"'
    assert backend.name_of("t").sql == '"LLM_DEMO"."Public"."t"'


def test_a_qualified_stage_may_lie_elsewhere() -> None:
    assert SnowflakeBackend(**_GOOD, stage="other.files.s").stage_name.stage == '@"OTHER"."FILES"."S"'


def test_making_one_loads_nothing_of_snowflake_and_connects_to_nothing() -> None:
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"  # an empty namespace package, which its .pth file makes
        "from soaptune.snowflake.backend import SnowflakeBackend\n"
        "SnowflakeBackend(compute_pool='p', database='d', schema='s')\n"
        "heavy = {'snowflake', 'pandas', 'torch', 'stamina'}\n"
        "assert not [n for n in set(sys.modules) - before if n.split('.')[0] in heavy]\n"
    )
    import subprocess

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_its_text_shows_no_secret() -> None:
    parameters = {"account": "a", "user": "u", "password": "pa55word", "token": "t0ken"}
    backend = SnowflakeBackend(**_GOOD, connection_parameters=parameters)

    assert repr(backend) == (
        "SnowflakeBackend(compute_pool='GPU_POOL', database='LLM_DEMO', schema='PUBLIC', stage='SOAPTUNE_STAGE')"
    )
    assert "pa55word" not in repr(backend.connection) + str(backend.connection)


def test_a_requirement_with_credentials_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="carries a password") as caught:
        SnowflakeBackend(**_GOOD, pip_requirements=["mine @ git+https://me:t0ken@example.com/mine.git"])
    assert "t0ken" not in str(caught.value)


def test_copies_and_pickles_leave_the_session_behind() -> None:
    class Session:
        def __reduce__(self) -> Any:
            raise AssertionError("a session does not travel")

        def __deepcopy__(self, memo: Any) -> Any:
            raise AssertionError("a session is not copied")

    backend = SnowflakeBackend(**_GOOD, session=Session(), env={"A": "b"})

    for twin in (pickle.loads(pickle.dumps(backend)), copy.deepcopy(backend)):
        assert twin.compute_pool == "GPU_POOL"
        assert twin.env == {"A": "b"}
        assert "session" not in repr(twin.connection)


def _everything(thing: Any) -> str:
    """All that can be seen of an object with `vars` and `repr`, down to the bottom."""
    inside = getattr(thing, "__dict__", {})
    return repr(thing) + str(inside) + "".join(_everything(value) for value in inside.values())


@pytest.mark.parametrize("secret", ["password", "token", "passcode", "private_key_file_pwd", "some_day_new"])
def test_no_pickle_and_nothing_that_is_shown_holds_a_secret(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"account": "acme", "user": "eve", secret: "pa55word", "session_parameters": {"TIMEZONE": "UTC"}}
    backend = SnowflakeBackend(**_GOOD, connection_parameters=given)

    assert "pa55word" not in _everything(backend)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert b"pa55word" not in pickle.dumps(backend, protocol)
    assert b"pa55word" not in cloudpickle.dumps(backend)
    assert copy.deepcopy(backend).connection._login.parameters() == given  # in this process it goes on
    twin = pickle.loads(pickle.dumps(backend))
    variable = f"SNOWFLAKE_{secret.upper()}"
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(BackendError, match=rf"{secret} of its connection_parameters stayed there.*{variable}"):
        twin.session()
    # Pickled once more it is still known what is missing.
    monkeypatch.setenv(variable, "another")
    assert pickle.loads(pickle.dumps(twin)).connection._login.parameters() == {**given, secret: "another"}


def test_an_error_of_the_login_quotes_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    from snowflake.snowpark import Session

    def refuse(self: Any) -> Any:
        raise ValueError("the login eve/pa55word is wrong")

    monkeypatch.setattr(Session.SessionBuilder, "create", refuse)
    backend = SnowflakeBackend(**_GOOD, connection_parameters={"account": "acme", "password": "pa55word"})
    with pytest.raises(BackendError, match=r"eve/\*\*\* is wrong") as caught:
        backend.session()
    assert "pa55word" not in "".join(traceback.format_exception(caught.value))


def test_importing_the_sdk_leaves_the_exception_hook_alone() -> None:
    from soaptune.snowflake.jobs.submission import jobs_module

    for name in [n for n in sys.modules if n == "snowflake.ml.jobs"]:
        del sys.modules[name]
    before = sys.excepthook
    assert jobs_module().submit_directory
    assert sys.excepthook is before
    assert soaptune.__version__
