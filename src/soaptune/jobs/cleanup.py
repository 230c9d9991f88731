"""What removing jobs has in common on all backends."""

from __future__ import annotations

import math
from datetime import timedelta

from soaptune.errors import ConfigError

__all__ = ["age_of"]


def age_of(older_than: timedelta | float | None) -> timedelta | None:
    """The age from which on jobs are removed.

    Args:
        older_than: A time span, or seconds; None for any age.

    Raises:
        ConfigError: It is negative, or no time span.
    """
    if older_than is None or isinstance(older_than, timedelta):
        age = older_than
    elif math.isfinite(older_than) and older_than <= timedelta.max.total_seconds():
        age = timedelta(seconds=older_than)
    else:
        raise ConfigError(f"older_than is {older_than:g}, and it is a number of seconds or a timedelta")
    if age is not None and age < timedelta(0):
        raise ConfigError("older_than must not be negative")
    return age
