"""The same four steps next to the data: generate, train, evaluate and deploy on Snowflake, and ask the service.

    python examples/snowflake.py --setup-for ENGINEER     # prints what an administrator runs first
    python examples/snowflake.py --database LLM_DEMO --external-access-integrations PYPI_HF_EAI
    python examples/snowflake.py --emulated

It follows Snowflake's public sample (``samples/ml/ml_jobs/llm_finetune`` of Snowflake-Labs/sf-samples) step for step,
with the same tables and the same recipe. With ``--emulated`` it runs on this machine, against an emulated account and
with the embedded model in place of Qwen3-1.7B: the same calls, some minutes, no account. That takes Python 3.11 or
later and ``pip install 'soaptune[all]'``. All text is synthetic: not for clinical use.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console

import soaptune as st

DIALOGUE = """\
Doctor: What brings you in today?
Patient: I have had a sore throat for 4 days.
Doctor: Any allergies?
Patient: I am allergic to penicillin.
Doctor: I suggest ibuprofen 400 mg every 8 hours.
Doctor: Come back in 1 week."""

say = Console(highlight=False, soft_wrap=True).print


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is run, and how large.

    Attributes:
        preset: The preset of the training run.
        num_samples: How many examples are made.
        max_steps: Where training stops; None for the whole of the preset.
        gpus: GPUs of each instance of the service.
        table: How the names of the tables begin.
    """

    preset: str = "qwen3-1.7b-lora"
    num_samples: int = 1_000
    max_steps: int | None = None
    gpus: int = 1
    table: str = "SOAP_DATA"


@dataclass(frozen=True)
class Walk:
    """What the walk has made."""

    data: st.Dataset
    model: st.Model
    report: st.EvalReport
    endpoint: Any
    note: Any


def walk(backend: st.SnowflakeBackend, recipe: Recipe) -> Walk:
    """Runs the four steps and asks the endpoint; the same objects as on this machine, on another backend."""
    say(f"[bold]1. Generate[/] the tables {recipe.table}_TRAIN, _VALIDATION and _TEST, in the account")
    generator = st.DataGenerator(task=st.tasks.SOAP, num_samples=recipe.num_samples, seed=42, table=recipe.table)
    data = generator.run(on=backend)
    say(data, markup=False)

    say(f"\n[bold]2. Train[/] with the preset {recipe.preset}")
    spec = st.TrainSpec.preset(recipe.preset).replace(max_steps=recipe.max_steps)
    job = st.Trainer(spec=spec).submit(data, on=backend)
    say(f"   {job.id}: {job.url}", markup=False)
    for line in job.logs(follow=True):
        say(line, style="dim", markup=False)
    job.wait()
    # What follows could run tomorrow, in another process: the id is all that it needs.
    model = backend.job(job.id).result()
    say(model, markup=False)

    say("\n[bold]3. Evaluate[/] on the test split, against the model it started from")
    report = st.Evaluator(judge=st.judges.Facts()).run(model, data, on=backend)
    say(report)

    say("\n[bold]4. Deploy[/]: a version in the Model Registry and a service that answers")
    deployer = st.Deployer(name="soap-notes", task=st.tasks.SOAP, service=st.ServiceOptions(gpus=recipe.gpus))
    endpoint = deployer.run(model, report, on=backend)
    say(endpoint, markup=False)
    note = endpoint.generate(dialogue=DIALOGUE)
    for section in ("S", "O", "A", "P"):
        say(f"   {section}  {getattr(note, section)}", markup=False)
    return Walk(data, model, report, endpoint, note)


@contextmanager
def emulated_backend() -> Iterator[st.SnowflakeBackend]:
    """A backend on an emulated account that lives as long as the block, prepared as an administrator would."""
    from snowflake.snowpark import Session

    from soaptune.testing.snowflake import emulated_snowflake

    with emulated_snowflake() as account:
        backend = st.SnowflakeBackend(
            compute_pool="GPU_POOL",
            database=account.database,
            schema=account.schema,
            warehouse=account.warehouse,
            external_access_integrations=["PYPI_HF_EAI"],
            connection_parameters=account.connection_parameters,
        )
        administrator = Session.builder.configs(account.connection_parameters).create()
        administrator.connection.execute_string(backend.setup_sql(role=account.role))
        administrator.close()
        yield backend


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--emulated", action="store_true", help="use an emulated account and the embedded model")
    parser.add_argument("--setup-for", metavar="ROLE", help="print what an administrator runs first, and stop")
    parser.add_argument("--connection", help="a section of connections.toml; its default one when not given")
    parser.add_argument("--compute-pool", default="GPU_POOL")
    parser.add_argument("--database", default="LLM_DEMO")
    parser.add_argument("--schema", default="PUBLIC")
    parser.add_argument("--warehouse", default="DEMO_WH")
    parser.add_argument("--external-access-integrations", nargs="*", default=["PYPI_HF_EAI"])
    parser.add_argument("--num-samples", type=int, default=1_000)
    parser.add_argument("--max-steps", type=int, default=None)
    options = parser.parse_args()
    if options.emulated:
        recipe = Recipe(preset="tiny-lora", num_samples=options.num_samples, max_steps=options.max_steps, gpus=0)
        with emulated_backend() as backend:
            walk(backend, recipe).endpoint.stop()
            say("\nRemoved at the end:")
            for what in backend.cleanup():
                say(f"   {what}", markup=False)
        return
    backend = st.SnowflakeBackend(
        compute_pool=options.compute_pool,
        database=options.database,
        schema=options.schema,
        warehouse=options.warehouse,
        external_access_integrations=options.external_access_integrations,
        connection_name=options.connection,
    )
    if options.setup_for:
        print(backend.setup_sql(role=options.setup_for))
        return
    done = walk(backend, Recipe(num_samples=options.num_samples, max_steps=options.max_steps))
    say(f"\n{done.endpoint} goes on running until endpoint.stop(); backend.cleanup() removes the jobs.", markup=False)


if __name__ == "__main__":
    # A script's own folder comes first, and this file has the name of Snowflake's packages.
    sys.path.pop(0)
    main()
