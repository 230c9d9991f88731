"""`SnowflakeSettings`: one frozen value, all that is wrong with it at once, exact names from written ones."""

from __future__ import annotations

from typing import Any

import pytest

from soaptune.errors import ConfigError
from soaptune.snowflake.backend import SnowflakeBackend
from soaptune.snowflake.settings import SnowflakeSettings

_GOOD: dict[str, Any] = {"compute_pool": "gpu_pool", "database": "llm_demo", "schema": '"Public"'}


def test_everything_that_is_wrong_is_in_one_error() -> None:
    wrong: dict[str, Any] = {
        "compute_pool": "a b",
        "database": "a/b",
        "schema": "it's",
        "stage": "a.b.c.d",
        "external_access_integrations": "EAI",
        "warehouse": "",
        "runtime_environment": "1'); DROP",
        "target_instances": 0,
        "min_instances": 0,
        "env": {"HF_TOKEN": "hf_abc"},
        "pip_requirements": ["a\nb"],
        "connection_name": "one",
        "session": object(),
    }
    with pytest.raises(ConfigError) as caught:
        SnowflakeBackend(**wrong)
    message = str(caught.value)
    assert message.startswith("SnowflakeBackend: ")
    for name in wrong:
        assert name in message
    assert "hf_abc" not in message


def test_exact_names_come_from_written_ones() -> None:
    settings = SnowflakeSettings.model_validate(
        {**_GOOD, "stage": "other.files.s", "warehouse": "wh", "external_access_integrations": ["pypi", '"hub"']}
    )
    assert (settings.pool_name, settings.database_name, settings.schema_name) == ("GPU_POOL", "LLM_DEMO", "Public")
    assert settings.stage_name.stage == '@"OTHER"."FILES"."S"'
    assert (settings.warehouse_name, settings.integration_names) == ("WH", ("PYPI", "hub"))
    assert settings.account.model_dump() == {
        "database": "LLM_DEMO",
        "db_schema": "Public",
        "compute_pool": "GPU_POOL",
        "integrations": ("PYPI", "hub"),
        "experiment": "SOAPTUNE",
    }


def test_it_comes_back_from_json_and_changes_by_replace() -> None:
    settings = SnowflakeBackend(**_GOOD, target_instances=3, env={"A": "b"}).settings
    assert SnowflakeSettings.model_validate_json(settings.model_dump_json()) == settings
    assert settings.replace(min_instances=2).schema_name == "Public"
    with pytest.raises(ConfigError, match="min_instances"):
        settings.replace(min_instances=4)
    with pytest.raises(ConfigError, match="target_instances"):
        settings.replace(target_instances="3")


def test_a_backend_shows_its_arguments_as_they_were_written() -> None:
    arguments: dict[str, Any] = {
        **_GOOD,
        "stage": "files",
        "external_access_integrations": ("pypi",),
        "warehouse": "wh",
        "role": "engineer",
        "runtime_environment": "2.3.1",
        "target_instances": 2,
        "min_instances": 1,
        "env": {"A": "b"},
        "pip_requirements": ("einops==0.8.0",),
        "query_tag": "mine",
        "experiment": None,
    }
    backend = SnowflakeBackend(**arguments)
    assert {name: getattr(backend, name) for name in arguments} == arguments
