"""Schemas that callers send: references that multiply are given up, and not followed for ever."""

import pytest

from soaptune.errors import ConfigError
from soaptune.tasks.constrained import longest_step


def test_references_that_double_at_each_level_are_given_up():
    definitions = {f"d{level}": {"anyOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(60)}
    with pytest.raises(ConfigError, match="references multiply"):
        longest_step({"$defs": {**definitions, "d60": {"type": "null"}}, "$ref": "#/$defs/d0"})
