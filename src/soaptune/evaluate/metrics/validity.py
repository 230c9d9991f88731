"""The schema-valid rate: the share of answers that are valid outputs of the task as they stand."""

from __future__ import annotations

from soaptune.evaluate.examples import Count, Prediction

__all__ = ["schema_valid"]


def schema_valid(prediction: Prediction) -> Count:
    """Counts one answer; anything around the JSON, a missing field or a wrong type makes it invalid."""
    return Count(float(prediction.fields is not None), 1.0)
