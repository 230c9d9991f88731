"""What a task's heuristic generator is built from: columns of random choices, pools of strings, templates.

Nothing here knows a domain. A generator draws whole columns of choices (`random`), names them by ids into a pool of
strings (`pools`), writes them into templates (`scripts`), and lists the facts it wrote with where they are said
(`facts`). The modules need numpy and pyarrow, which are loaded when something is generated and not before.
"""

from __future__ import annotations

from soaptune.generation.protocol import ExampleGenerator, Pools, load_generator

__all__ = ["ExampleGenerator", "Pools", "load_generator"]
