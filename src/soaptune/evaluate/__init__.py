"""The third step: what a model makes of a data set's split, scored with uncertainty, base against tuned.

`metrics` are pure functions that give counts, `judges` decide what is right, `summary` and `intervals` turn counts into
metrics, `evaluator` is the step. Generation happens in the job (`soaptune.runtime.evaluate.job`); no torch here.
"""

from soaptune.evaluate.evaluator import Evaluator
from soaptune.evaluate.judges import Facts, Judge

__all__ = ["Evaluator", "Facts", "Judge"]
