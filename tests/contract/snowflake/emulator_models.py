"""Small models that the tests log and serve, with the real SDK.

The annotations of their methods must be objects: the SDK compares them with classes.
"""

import os
import time
from typing import Any

import pandas as pd
from snowflake.ml.model import custom_model
from snowflake.ml.model.model_signature import DataType, FeatureSpec, ModelSignature, ParamSpec

ROWS = pd.DataFrame({"a": [1, 2], "b": [10.5, 20.5]})
_SIGNATURE = ModelSignature(
    inputs=[FeatureSpec("a", DataType.INT64), FeatureSpec("b", DataType.DOUBLE)],
    outputs=[FeatureSpec("total", DataType.DOUBLE)],
    params=[ParamSpec("factor", DataType.DOUBLE, default_value=1.0)],
)


class Adder(custom_model.CustomModel):
    """Adds two columns; says what goes wrong, takes its time or ends its process when it is asked to."""

    @custom_model.inference_api
    def predict(self, X: pd.DataFrame, *, factor: float = 1.0) -> pd.DataFrame:  # noqa: N803
        if (X["a"] < 0).any():
            raise ArithmeticError("below zero")
        if (X["a"] == 99).any():
            time.sleep(5)
        if (X["a"] == 666).any():
            os._exit(3)
        return pd.DataFrame({"total": (X["a"] + X["b"]) * factor})


def log(registry: Any, name: str, version: str, **options: Any) -> Any:
    """Logs an `Adder`."""
    model = Adder(custom_model.ModelContext())
    return registry.log_model(
        model, model_name=name, version_name=version, signatures={"predict": _SIGNATURE}, **options
    )
