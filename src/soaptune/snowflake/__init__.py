"""Everything that touches Snowflake: where jobs run (`SnowflakeBackend`), tables, the registry, services, experiments.

The only package that imports Snowflake's packages, and only inside functions.
"""

from __future__ import annotations
