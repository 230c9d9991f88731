"""For whoever has a Snowflake account: runs the walkthrough there and on the emulator, and prints what differed.

    python examples/live_smoke.py --database LLM_DEMO --compute-pool GPU_POOL --warehouse DEMO_WH
    python examples/live_smoke.py --rehearse          # a second emulated account in place of yours

soaptune is developed without an account: everything on Snowflake was seen to work on the emulator alone. This script
is how to find out where the two differ. It takes the embedded model and a few steps, so that it costs minutes of a
compute pool; what it makes has names that begin with ``SOAPTUNE_SMOKE`` and is removed at the end. Please report what
it prints. It needs ``pip install 'soaptune[all]'`` and Python 3.11 or later. The role needs what
``python examples/snowflake.py --setup-for ROLE`` prints.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import soaptune as st

if __name__ == "__main__":
    # A script's own folder comes first; in it, examples/snowflake.py would hide Snowflake's packages.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from examples.snowflake import DIALOGUE, emulated_backend

TABLE = "SOAPTUNE_SMOKE"
Seen = dict[str, Any]
say = Console(highlight=False).print


class Probes:
    """What is tried, in order; each probe says what it has seen, in words that two accounts can be compared by."""

    def __init__(self, backend: st.SnowflakeBackend, *, gpus: int) -> None:
        self.backend = backend
        self.gpus = gpus
        self.data: Any = None
        self.model: Any = None
        self.report: Any = None

    def job(self) -> Seen:
        """Any command line: its log, its files, its states, and finding it again."""
        script = "import os, pathlib; print('hello'); pathlib.Path('../output/made.txt').write_text(os.environ['WORD'])"
        spec = st.JobSpec(name="smoke", entrypoint=("python", "main.py"), files={"main.py": script}, env={"WORD": "x"})
        findings = sorted({finding.code for finding in self.backend.preflight(spec)})
        job = self.backend.submit(spec)
        log = [line for line in job.logs(follow=True) if line == "hello"]
        job.wait()
        return {"preflight": findings, "log": log, "found again": self.backend.job(job.id).status, **left(job)}

    def failure(self) -> Seen:
        """A command that fails: its status, and whether the error carries the end of the log."""
        spec = st.JobSpec(name="smoke", entrypoint=("python", "-c", "import sys; print('broken'); sys.exit(3)"))
        job = self.backend.submit(spec)
        try:
            job.wait()
        except st.SoaptuneError as error:
            return {"error": type(error).__name__, "names the log": "broken" in str(error), **left(job)}
        return {"error": "none", **left(job)}

    def generate(self) -> Seen:
        """Tables made by a job: the same rows everywhere, by their fingerprint."""
        generator = st.DataGenerator(task=st.tasks.SOAP, num_samples=60, seed=1, table=TABLE, overwrite=True)
        job = generator.submit(on=self.backend)
        job.wait()
        self.data = job.result()
        columns = self.data.table("test").column_names
        return {"counts": self.data.counts, "rows": self.data.fingerprint, "columns": columns, **left(job)}

    def train(self) -> Seen:
        """A few steps of ArcticTraining on those tables."""
        job = st.Trainer(spec=st.TrainSpec.preset("tiny-lora").replace(max_steps=3)).submit(self.data, on=self.backend)
        job.wait()
        self.model = job.result()
        steps = [event.data["done"] for event in job.events() if event.kind == "progress"]
        return {"base": self.model.base, "steps": steps[-1:], **left(job)}

    def evaluate(self) -> Seen:
        """The report of that model on the test split."""
        job = st.Evaluator().submit(self.model, self.data, on=self.backend)
        job.wait()
        self.report = job.result()
        return {"metrics": sorted(self.report.metrics), "n": self.report.n, **left(job)}

    def deploy(self) -> Seen:
        """A version in the registry and a service that answers."""
        service = st.ServiceOptions(gpus=self.gpus, replace_existing=True)
        deployer = st.Deployer(name="soaptune-smoke", task=st.tasks.SOAP, service=service)
        endpoint = deployer.run(self.model, self.report, on=self.backend)
        try:
            return {"note": type(endpoint.generate(dialogue=DIALOGUE)).__name__, "health": sorted(endpoint.health())}
        finally:
            endpoint.stop()


PROBES = ("job", "failure", "generate", "train", "evaluate", "deploy")


def left(job: st.Job[Any]) -> Seen:
    """What any job has left: its status, its states, and the files of its output."""
    output: Any = job
    files = sorted(file.path for file in output.output.list())
    return {
        "status": job.status,
        "states": [e.data["state"] for e in job.events() if e.kind == "state"],
        "files": files,
    }


def observe(backend: st.SnowflakeBackend, names: Sequence[str], *, gpus: int) -> Seen:
    """Runs the probes; one that fails is an observation too, and those that build on it are left out."""
    probes, seen = Probes(backend, gpus=gpus), Seen()
    known = {job.id for job in backend.jobs()}
    try:
        for name in names:
            say(f"   {name} ...")
            probe: Callable[[], Seen] = getattr(probes, name)
            try:
                seen |= {f"{name}: {what}": value for what, value in probe().items()}
            except Exception as error:
                seen[f"{name}: failed"] = f"{type(error).__name__}: {error}"
                if name not in ("job", "failure"):
                    break
    finally:
        made = [job.id for job in backend.jobs() if job.id not in known]
        kinds = [what.split()[0] for what in backend.cleanup(jobs=made)] if made else []
        seen["cleanup"] = sorted(set(kinds))
        for split in ("TRAIN", "VALIDATION", "TEST", "LEDGER", "MANIFEST"):
            backend.session().sql(f"DROP TABLE IF EXISTS {TABLE}_{split}").collect()
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rehearse", action="store_true", help="compare the emulator with itself")
    parser.add_argument("--only", nargs="+", choices=PROBES, default=list(PROBES), help="run only these, in this order")
    parser.add_argument("--connection", help="a section of connections.toml; its default one when not given")
    parser.add_argument("--compute-pool", default="GPU_POOL")
    parser.add_argument("--database", default="LLM_DEMO")
    parser.add_argument("--schema", default="PUBLIC")
    parser.add_argument("--warehouse", default="DEMO_WH")
    parser.add_argument("--external-access-integrations", nargs="*", default=["PYPI_HF_EAI"])
    options = parser.parse_args()
    say("[bold]On the emulator[/]")
    with emulated_backend() as backend:
        expected = observe(backend, options.only, gpus=0)
    say("[bold]On the account[/]")
    with ExitStack() as stack:
        if options.rehearse:
            account = stack.enter_context(emulated_backend())
        else:
            account = st.SnowflakeBackend(
                compute_pool=options.compute_pool,
                database=options.database,
                schema=options.schema,
                warehouse=options.warehouse,
                external_access_integrations=options.external_access_integrations,
                connection_name=options.connection,
            )
        found = observe(account, options.only, gpus=0 if options.rehearse else 1)
    differing = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if not differing:
        say(f"\nNothing differed in {len(expected)} observations.")
        return
    table = Table(title=f"{len(differing)} of {len({**expected, **found})} observations differed", title_justify="left")
    for head in ("observation", "emulator", "account"):
        table.add_column(head, overflow="fold")
    for name in differing:
        table.add_row(name, str(expected.get(name, "-")), str(found.get(name, "-")))
    say(table)


if __name__ == "__main__":
    main()
