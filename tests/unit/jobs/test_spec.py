"""A job's spec is pure data: the same input gives the same bytes, and nothing secret is in it."""

import pytest

from soaptune.errors import ConfigError
from soaptune.jobs.spec import JobSpec, Resources


def spec(**changes):
    return JobSpec(**{"name": "train", "entrypoint": ("python", "-c", "pass"), **changes})


def test_a_spec_round_trips_through_json():
    made = spec(files={"a/b.txt": "ä"}, inputs={"data": "/d"}, resources=Resources(cpus=2), secrets={"HF_TOKEN": "T"})
    assert JobSpec.model_validate_json(made.model_dump_json()) == made


def test_equal_specs_have_equal_bytes_and_fingerprints():
    one, two = spec(env={"A": "1"}), spec(env={"A": "1"})
    assert one.model_dump_json() == two.model_dump_json()
    assert one.fingerprint == two.fingerprint != spec(env={"A": "2"}).fingerprint
    assert one.fingerprint.startswith("sha256:")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", ".", "a\0b"])
def test_payload_files_stay_inside_the_payload(path):
    with pytest.raises(ConfigError, match="inside the payload"):
        spec(files={path: "x"})


@pytest.mark.parametrize("name", ["", "1st", "a b", "../x", "a/b", "x" * 62])
def test_a_name_is_fit_for_a_folder(name):
    with pytest.raises(ConfigError, match="name"):
        spec(name=name)


def test_an_inputs_name_is_fit_for_a_folder():
    with pytest.raises(ConfigError, match="identifier"):
        spec(inputs={"../data": "/d"})


@pytest.mark.parametrize("key", ["", "..", ".hidden", "a/b", "../x", "a b", "ü", "x" * 101, "a\n"])
def test_a_kept_folders_key_is_fit_for_a_path(key):
    with pytest.raises(ConfigError, match="fingerprint"):
        spec(keeps={"answers": key})


@pytest.mark.parametrize("name", ["", "../x", "a b", "é"])
def test_a_kept_folders_name_is_fit_for_a_path(name):
    with pytest.raises(ConfigError, match="identifier"):
        spec(keeps={name: "v1"})


@pytest.mark.parametrize("name", ["HF_TOKEN", "WANDB_API_KEY", "db_password", "AWS_SECRET_ACCESS_KEY"])
def test_a_secret_among_the_plain_variables_is_refused_without_its_value(name):
    with pytest.raises(ConfigError, match="secrets=") as caught:
        spec(env={name: "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_variable_that_only_sounds_like_a_token_is_fine():
    assert spec(env={"TOKENIZERS_PARALLELISM": "false"}).env


@pytest.mark.parametrize("field", ["env", "secrets"])
@pytest.mark.parametrize("variable", ["", "A=B", "1A", "A B", "Ä"])
def test_a_variable_has_a_name_that_systems_allow(field, variable):
    with pytest.raises(ConfigError, match="environment variable"):
        spec(**{field: {variable: "x"}})


def test_a_value_that_no_variable_can_hold_is_refused_and_not_quoted():
    with pytest.raises(ConfigError, match="NUL") as caught:
        spec(env={"A": "private\0"})
    assert "private" not in str(caught.value)


@pytest.mark.parametrize("entrypoint", [(), ("",), ("", "x"), ("python", "a\0b")])
def test_a_command_line_is_one_that_can_be_started(entrypoint):
    with pytest.raises(ConfigError, match="entrypoint"):
        spec(entrypoint=entrypoint)


def test_a_misspelt_field_says_which_was_meant():
    with pytest.raises(ConfigError, match="did you mean 'entrypoint'"):
        spec(entripoint=("x",))
