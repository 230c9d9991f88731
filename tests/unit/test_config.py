"""What a config says about values that it does not take: sentences for people, without the library's own words."""

import pytest
from pydantic import ValidationError, field_validator, model_validator

from soaptune.config import Config, summary
from soaptune.errors import ConfigError


class Inner(Config):
    size: int = 1

    @field_validator("size")
    @classmethod
    def _positive(cls, value):
        if value < 1:
            raise ValueError("a size is at least 1")
        return value


class Outer(Config):
    inner: Inner = Inner()
    even: int = 0
    left: int = 0
    right: int = 0

    @field_validator("even")
    @classmethod
    def _is_even(cls, value):
        if value % 2:
            raise AssertionError("it must be even")
        return value

    @model_validator(mode="after")
    def _ordered(self):
        if self.left > self.right:
            raise ValueError("left is right of right")
        return self


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"even": 1}, "Outer: even: it must be even"),
        ({"left": 2, "right": 1}, "Outer: (whole): left is right of right"),
        ({"inner": {"size": 0}, "even": 3}, "Outer: inner.size: a size is at least 1; even: it must be even"),
    ],
)
def test_an_error_says_our_sentence_and_nothing_before_it(values, said):
    with pytest.raises(ConfigError) as caught:
        Outer(**values)
    assert str(caught.value) == said


def test_what_is_read_from_json_is_told_in_the_same_words():
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": {"size": 0}})
    assert summary(caught.value) == "inner.size: a size is at least 1"


def test_a_mode_that_is_not_there_is_answered_with_those_that_are():
    import soaptune as st

    with pytest.raises(ConfigError, match=r"^DataGenerator: mode: there is no mode 'dictate'; the modes"):
        st.DataGenerator(task=st.tasks.SOAP, mode="dictate")
