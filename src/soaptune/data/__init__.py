"""The first step: data. `DataGenerator` makes a `Dataset` of examples for a task.

Another domain brings its own generator: a class with the methods of `ExampleGenerator`, which its task names as an
import path (``Task(generator="package.module:Class")``). `soaptune.generation` is what ours is built from.
"""

from __future__ import annotations

from soaptune.data.generator import DataGenerator
from soaptune.generation.protocol import ExampleGenerator

__all__ = ["DataGenerator", "ExampleGenerator"]
