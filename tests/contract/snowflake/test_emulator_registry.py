"""The registry: the real SDK logs, finds, changes, loads and deletes models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from snowflake.ml.registry import Registry
from snowflake.snowpark import Session
from snowflake.snowpark.exceptions import SnowparkSQLException

from soaptune.testing.snowflake.account import Account
from tests.contract.snowflake.emulator_models import ROWS, log

# The SDK says so of every model that is loaded.
pytestmark = pytest.mark.filterwarnings("ignore:Loading (the )?model:RuntimeWarning")


@pytest.fixture(scope="module")
def registry(shared_account: Account, shared_session: Session) -> Any:
    return Registry(session=shared_session, database_name=shared_account.database, schema_name=shared_account.schema)


@pytest.fixture
def name(registry: Any, request: pytest.FixtureRequest) -> str:
    """A model of the test's own with the versions V1, the default, and V2, a copy of it."""
    made = request.node.name.upper()
    first = log(registry, made, "V1", metrics={"rouge": 0.5}, comment="the first")
    registry.log_model(first, model_name=made, version_name="V2")
    return made


def test_a_logged_model_is_found_and_loaded_and_predicts(registry: Any, name: str) -> None:
    version = registry.get_model(name).version("V1")
    assert (version.model_name, version.version_name, version.comment) == (name, "V1", "the first")
    assert [function["target_method"] for function in version.show_functions()] == ["predict"]
    loaded = version.load(force=True)
    assert loaded.predict(ROWS)["total"].tolist() == [11.5, 22.5]


def test_a_copied_version_is_another_with_the_same_files(registry: Any, name: str) -> None:
    model = registry.get_model(name)
    assert [version.version_name for version in model.versions()] == ["V1", "V2"]
    shown = model.show_versions().set_index("name")
    assert shown["is_default_version"].to_dict() == {"V1": "true", "V2": "false"}
    assert shown.loc["V1", "model_spec"] == shown.loc["V2", "model_spec"]
    assert shown["created_on"].map(type).tolist() == [pd.Timestamp] * 2
    assert model.version("V2").load(force=True).predict(ROWS)["total"].tolist() == [11.5, 22.5]


def test_metrics_are_set_changed_and_deleted(registry: Any, name: str) -> None:
    version = registry.get_model(name).version("V1")
    version.set_metric("by_field", {"S": 0.25, "note": "it's $ 5"})
    assert version.show_metrics() == {"rouge": 0.5, "by_field": {"S": 0.25, "note": "it's $ 5"}}
    version.delete_metric("rouge")
    with pytest.raises(KeyError):
        version.get_metric("rouge")


def test_comments_of_models_and_versions_are_apart(registry: Any, name: str) -> None:
    model = registry.get_model(name)
    model.comment, model.version("V2").comment = 'all "versions"', "it's the second\nline"
    assert model.comment == 'all "versions"'
    assert [version.comment for version in model.versions()] == ["the first", "it's the second\nline"]


def test_the_default_version_moves_and_is_never_dropped(registry: Any, name: str) -> None:
    model = registry.get_model(name)
    model.default = "V2"
    assert model.default.version_name == "V2"
    with pytest.raises(SnowparkSQLException, match="default version"):
        model.delete_version("V2")
    model.delete_version("V1")
    assert [version.version_name for version in model.versions()] == ["V2"]
    assert (model.first().version_name, model.last().version_name) == ("V2", "V2")


def test_an_alias_leads_to_its_version_until_it_is_unset(registry: Any, name: str) -> None:
    model = registry.get_model(name)
    model.version("V2").set_alias("production")
    assert model.version("production").version_name == "V2"
    assert (model.first().version_name, model.last().version_name) == ("V1", "V2")
    with pytest.raises(SnowparkSQLException, match="already exists"):
        model.version("V1").set_alias("production")
    model.version("V2").unset_alias("production")
    with pytest.raises(ValueError, match="Unable to find version"):
        model.version("production")


def test_tags_are_set_shown_and_unset(registry: Any, name: str) -> None:
    model = registry.get_model(name)
    model.set_tag("stage", "it's live")
    assert model.show_tags() == {"TEST_DB.PUBLIC.STAGE": "it's live"}
    assert model.get_tag("stage") == "it's live"
    model.unset_tag("stage")
    assert (model.show_tags(), model.get_tag("stage")) == ({}, None)


def test_the_files_of_a_version_are_exported(registry: Any, name: str, tmp_path: Path) -> None:
    from snowflake.ml.model import ExportMode

    registry.get_model(name).version("V1").export(str(tmp_path), export_mode=ExportMode.FULL)
    assert (tmp_path / "MANIFEST.yml").is_file()
    assert (tmp_path / "model" / "model.yaml").is_file()
    assert (tmp_path / "functions" / "predict.py").is_file()


def test_a_renamed_model_keeps_its_files(registry: Any, name: str) -> None:
    model = registry.get_model(name)
    model.rename(f"{name}_NEW")
    with pytest.raises(ValueError, match="Unable to find model"):
        registry.get_model(name)
    version = registry.get_model(f"{name}_NEW").version("V1")
    assert version.load(force=True).predict(ROWS)["total"].tolist() == [11.5, 22.5]


def test_a_deleted_model_is_gone(registry: Any, name: str) -> None:
    assert name in set(registry.show_models()["name"])
    registry.delete_model(name)
    assert name not in {model.name for model in registry.models()}
    with pytest.raises(ValueError, match="Unable to find model"):
        registry.get_model(name)


def test_names_may_be_quoted(registry: Any, tmp_path: Path) -> None:
    odd = '"mödel.x ""y"""'
    log(registry, odd, '"version 1.0"')
    version = registry.get_model(odd).version('"version 1.0"')
    assert version.load(force=True).predict(ROWS)["total"].tolist() == [11.5, 22.5]
    assert 'mödel.x "y"' in set(registry.show_models()["name"])


def test_a_version_is_logged_only_once(registry: Any, name: str) -> None:
    with pytest.raises(ValueError, match="already existed"):
        log(registry, name, "V1")


def test_what_does_not_exist_is_said_so(registry: Any, name: str) -> None:
    with pytest.raises(ValueError, match="Unable to find version"):
        registry.get_model(name).version("V9")


def test_underscores_are_wildcards_in_the_names_that_show_looks_for(shared_session: Session, registry: Any) -> None:
    log(registry, "WILD_CARD", "V1")
    log(registry, "WILDXCARD", "V1")
    found = shared_session.sql("SHOW MODELS LIKE 'WILD_CARD' IN SCHEMA TEST_DB.PUBLIC").collect()
    assert [row["name"] for row in found] == ["WILD_CARD", "WILDXCARD"]


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER MODEL {name} SUSPEND",
        "ALTER MODEL {name} ADD LIVE VERSION V3",
        "ALTER MODEL {name} MODIFY VERSION V1 SET OWNER = 'me'",
        "CREATE MODEL M_LIVE WITH LIVE VERSION V1",
    ],
)
def test_forms_that_are_not_known_are_refused_and_quoted(shared_session: Session, registry: Any, sql: str) -> None:
    if not any(model.name == "REFUSING" for model in registry.models()):
        log(registry, "REFUSING", "V1")
    text = sql.format(name="REFUSING")
    with pytest.raises(SnowparkSQLException, match="knows no such form") as caught:
        shared_session.sql(text).collect()
    assert text in str(caught.value)


def test_metadata_that_is_no_object_is_refused(shared_session: Session, name: str) -> None:
    with pytest.raises(SnowparkSQLException, match="must be a JSON object"):
        shared_session.sql(f"ALTER MODEL {name} MODIFY VERSION V1 SET METADATA=$$[1]$$").collect()


def test_a_stage_without_a_manifest_is_no_model(shared_session: Session) -> None:
    shared_session.sql("CREATE STAGE IF NOT EXISTS EMPTY_ONE").collect()
    with pytest.raises(SnowparkSQLException, match=r"Unable to read file MANIFEST\.yml") as caught:
        shared_session.sql("CREATE MODEL NO_MANIFEST WITH VERSION V1 FROM @EMPTY_ONE/there").collect()
    assert caught.value.sql_error_code == 398507
