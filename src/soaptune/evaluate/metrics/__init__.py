"""Metrics: pure functions of an example and a prediction, each giving counts that add up over examples."""

from soaptune.evaluate.metrics.invented import invented, invented_items
from soaptune.evaluate.metrics.precision_recall import fact_precision, fact_recall
from soaptune.evaluate.metrics.rouge import rouge_l, rouge_l_fields
from soaptune.evaluate.metrics.validity import schema_valid

__all__ = [
    "fact_precision",
    "fact_recall",
    "invented",
    "invented_items",
    "rouge_l",
    "rouge_l_fields",
    "schema_valid",
]
