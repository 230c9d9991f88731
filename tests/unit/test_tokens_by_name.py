"""A token is named, never given: configs, specs and manifests are written down."""

import pytest

import soaptune as st
from soaptune.errors import ConfigError

TOKEN = "hf_" + "AbCdEfGhIj" * 3


@pytest.mark.parametrize(
    "give",
    [
        lambda token: st.TrainSpec(model="m", token=token),
        lambda token: st.Evaluator(token=token),
        lambda token: st.Deployer(name="notes", token=token),
        lambda token: st.ServiceOptions(token=token),
        lambda token: st.JobSpec(name="a", entrypoint=("true",), secrets={"HF_TOKEN": token}),
    ],
)
def test_a_token_where_its_name_is_expected_is_refused_and_not_repeated(give):
    with pytest.raises(ConfigError, match=r"not the (token|secret)") as caught:
        give(TOKEN)
    assert TOKEN not in str(caught.value)
    assert '"HF_TOKEN"' in give("HF_TOKEN").model_dump_json()


def test_the_name_of_a_secret_may_look_like_its_kind():
    assert st.TrainSpec(model="m", token="hf_token").token == "hf_token"
