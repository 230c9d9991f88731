"""Experiment tracking: experiments, their runs with metrics, parameters and artifacts, and what models came of them."""

from __future__ import annotations

import json
import re
import shutil
import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from soaptune.testing.snowflake import literals
from soaptune.testing.snowflake.inline import inline_table
from soaptune.testing.snowflake.literals import TEXT
from soaptune.testing.snowflake.names import NAME, PART, Name, unquoted
from soaptune.testing.snowflake.results import Result, SqlError, exists, missing, rows, status
from soaptune.testing.snowflake.statements import Call, handles

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account

LIMIT = 200_000
"""How many characters the metrics and parameters of a run may take; the server has such a limit, of unknown size."""

_SQL = "snowflake/ml/experiment/_client/experiment_tracking_sql_client.py"


@dataclass
class Run:
    """A run of an experiment.

    Attributes:
        name: As the server stores it.
        metrics: What was logged, in order, with ``name``, ``value``, ``step`` and ``timestamp``.
        params: What was logged, with ``name`` and ``value``.
        source: Where it was started from, as the client says.
    """

    name: str
    id: int
    status: str = "RUNNING"
    metrics: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    params: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    source: dict[str, Any] = field(default_factory=dict[str, Any])
    created: str = field(default_factory=literals.now)
    ended: str | None = None

    @property
    def latest(self) -> list[dict[str, Any]]:
        """The metrics at their highest steps."""
        found: dict[str, dict[str, Any]] = {}
        for metric in self.metrics:
            known = found.get(metric["name"])
            if known is None or metric["step"] >= known["step"]:
                found[metric["name"]] = metric
        return list(found.values())


@dataclass
class Experiment:
    """An experiment with its runs, in the order they were started."""

    name: Name
    id: int
    runs: dict[str, Run] = field(default_factory=dict[str, Run])
    created: str = field(default_factory=literals.now)

    def run(self, text: str) -> Run:
        """The run with a name as SQL text has it.

        Raises:
            SqlError: If there is none.
        """
        name = unquoted(text)
        if name not in self.runs:
            raise missing("Run", name)
        return self.runs[name]


class Experiments:
    """The experiments of an account; ``account.experiments[name]`` is one of them."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.lock = threading.RLock()
        self._experiments: dict[Name, Experiment] = {}
        self._count = 0

    def __getitem__(self, name: Name) -> Experiment:
        """An experiment.

        Raises:
            SqlError: If it does not exist.
        """
        with self.lock:
            if name not in self._experiments:
                raise missing("Experiment", name.dotted)
            return self._experiments[name]

    def __contains__(self, name: Name) -> bool:
        return name in self._experiments

    def all(self) -> list[Experiment]:
        """All experiments, in the order they were made."""
        with self.lock:
            return list(self._experiments.values())

    def next_id(self) -> int:
        """A number that nothing else has."""
        with self.lock:
            self._count += 1
            return self._count

    def add(self, name: Name) -> None:
        """Makes an experiment.

        Raises:
            SqlError: If there is one of that name.
        """
        with self.lock:
            if name in self._experiments:
                raise exists("Object", name.dotted)
            self._experiments[name] = Experiment(name, self.next_id())

    def drop(self, name: Name) -> None:
        """Removes an experiment with its runs and their files.

        Raises:
            SqlError: If it does not exist.
        """
        with self.lock:
            del self._experiments[self[name].name]
            shutil.rmtree(self.folder(name), ignore_errors=True)

    def folder(self, name: Name) -> Path:
        """Where the artifacts lie: the files of ``snow://experiment/<name>``."""
        return self.account.stages.folder("experiment", name)

    def artifacts(self, name: Name, run: Run) -> Path:
        """Where the artifacts of a run lie; the client writes a run's name as an identifier there."""
        return self.folder(name) / "versions" / run.name

    def close(self) -> None:
        """Forgets them; their files go with the account's."""
        with self.lock:
            self._experiments.clear()


@handles(rf"^CREATE\s+EXPERIMENT\s+(IF\s+NOT\s+EXISTS\s+)?({NAME})$", issued_by=f"{_SQL}:86")
def create(account: Account, call: Call) -> Result:
    """Makes an experiment."""
    name = call.name(2)
    with account.experiments.lock:
        if call[1] and name in account.experiments:
            return status(f"{name.name} already exists, statement succeeded.")
        account.experiments.add(name)
    return status(f"Experiment {name.name} successfully created.")


@handles(rf"^DROP\s+EXPERIMENT\s+(IF\s+EXISTS\s+)?({NAME})$", issued_by=f"{_SQL}:117")
def drop(account: Account, call: Call) -> Result:
    """Removes an experiment."""
    name = call.name(2)
    if not call[1] or name in account.experiments:
        account.experiments.drop(name)
    return status(f"{name.name} successfully dropped.")


@handles(
    rf"^SHOW\s+EXPERIMENTS(?:\s+LIKE\s+({TEXT}))?(?:\s+IN\s+SCHEMA\s+({NAME}))?$",
    issued_by="users",
)
def show(account: Account, call: Call) -> Result:
    """The experiments of a schema."""
    pattern = literals.pattern(call[1])
    here = call.resolve(f"{call[2]}.X" if call[2] else "X")[:2]
    found = [
        {
            "created_on": experiment.created,
            "name": experiment.name.name,
            "database_name": experiment.name.database,
            "schema_name": experiment.name.schema,
        }
        for experiment in account.experiments.all()
        if experiment.name[:2] == here and literals.like(pattern, experiment.name.name)
    ]
    return literals.listing(["created_on", "name", "database_name", "schema_name"], found)


@handles(
    rf"^CALL\s+SYSTEM\$RESOLVE_EXPERIMENT_(RUN_)?ID\(\s*({TEXT})(?:\s*,\s*({TEXT}))?\s*\)$",
    issued_by=f"{_SQL}:100, 170",
)
def resolve(account: Account, call: Call) -> Result:
    """The number of an experiment or of a run."""
    experiment = account.experiments[call.resolve(literals.text(str(call[2])))]
    found = experiment.run(literals.text(str(call[3]))).id if call[1] else experiment.id
    return rows([f"SYSTEM$RESOLVE_EXPERIMENT_{call[1] or ''}ID"], [[found]], {})


def _add_run(account: Account, experiment: Experiment, match: re.Match[str]) -> None:
    name = unquoted(match["run"])
    if name in experiment.runs:
        raise exists("Run", name)
    source: dict[str, Any] = json.loads(literals.text(match["source"])) if match["source"] else {}
    experiment.runs[name] = Run(name, account.experiments.next_id(), source=source)


def _commit_run(_: Account, experiment: Experiment, match: re.Match[str]) -> None:
    run = experiment.run(match["run"])
    if run.status != "RUNNING":
        raise SqlError(400001, f"Run '{run.name}' is {run.status} and cannot be committed again.", "42601")
    run.status = literals.text(match["status"]) if match["status"] else "FINISHED"
    if run.status not in {"FINISHED", "FAILED"}:
        raise SqlError(400002, f"'{run.status}' is no status of a run; valid are FINISHED and FAILED.", "42601")
    run.ended = literals.now()


def _drop_run(account: Account, experiment: Experiment, match: re.Match[str]) -> None:
    run = experiment.run(match["run"])
    del experiment.runs[run.name]
    shutil.rmtree(account.experiments.artifacts(experiment.name, run), ignore_errors=True)


def _add_values(_: Account, experiment: Experiment, match: re.Match[str]) -> None:
    run = experiment.run(match["run"])
    if run.status != "RUNNING":
        raise SqlError(400001, f"Run '{run.name}' is {run.status}; nothing can be logged any longer.", "42601")
    try:
        found: Any = json.loads(literals.text(match["values"]))
    except json.JSONDecodeError as error:
        raise SqlError(100069, f"Error parsing JSON: {error}", "22P02") from error
    if not isinstance(found, list):
        raise SqlError(100069, "Error parsing JSON: metrics and parameters are a list of objects.", "22P02")
    values = cast("list[dict[str, Any]]", found)
    size = len(json.dumps([run.metrics, run.params, values]))
    if size > LIMIT:
        # The number that the SDK turns into a warning (experiment_tracking.py:480).
        raise SqlError(400003, f"The metadata of run '{run.name}' would take {size} characters of {LIMIT}.", "54000")
    if match["what"].upper() == "METRICS":
        logged = datetime.now(timezone.utc).replace(tzinfo=None).isoformat(sep=" ")
        run.metrics += [{**value, "timestamp": logged} for value in values]
    else:
        names = {value["name"] for value in values}
        run.params[:] = [*(param for param in run.params if param["name"] not in names), *values]


_CHANGES = {
    rf"ADD\s+RUN\s+(?P<run>{PART})(?:\s+WITH\s+\(SOURCE_INFO\s*=\s*(?P<source>{TEXT})\))?": _add_run,
    rf"COMMIT\s+RUN\s+(?P<run>{PART})(?:\s+WITH\s+STATUS\s*=\s*(?P<status>{TEXT}))?": _commit_run,
    rf"DROP\s+RUN\s+(?P<run>{PART})": _drop_run,
    rf"MODIFY\s+RUN\s+(?P<run>{PART})\s+ADD\s+(?P<what>METRICS|PARAMETERS)\s*=\s*(?P<values>{TEXT})": _add_values,
}
"""The forms of ALTER EXPERIMENT: experiment_tracking_sql_client.py:130 (add), 147 (commit), 186 (drop), 201 and 217
(metrics and parameters)."""


@handles(rf"^ALTER\s+EXPERIMENT\s+({NAME})\s+(.+)$", issued_by=f"{_SQL}:130")
def alter(account: Account, call: Call) -> Result:
    """Changes the runs of an experiment; a form that is not known is refused."""
    with account.experiments.lock:
        experiment = account.experiments[call.name()]
        for pattern, function in _CHANGES.items():
            if match := re.fullmatch(pattern, str(call[2]), re.IGNORECASE | re.DOTALL):
                function(account, experiment, match)
                return status()
    raise literals.unsupported("ALTER EXPERIMENT", call.sql)


@handles(rf"^SHOW\s+RUNS(?:\s+LIKE\s+({TEXT}))?\s+IN\s+EXPERIMENT\s+({NAME})$", issued_by=f"{_SQL}:278")
def show_runs(account: Account, call: Call) -> Result:
    """The runs of an experiment."""
    pattern = literals.pattern(call[1])
    found = [
        {
            "created_on": run.created,
            "name": run.name,
            "metadata": {"status": run.status, "source_info": run.source, "end_time": run.ended},
        }
        for run in list(account.experiments[call.name(2)].runs.values())
        if literals.like(pattern, run.name)
    ]
    return literals.listing(["created_on", "name", "metadata"], found)


@handles(
    rf"^SHOW\s+RUN\s+(METRICS|PARAMETERS)(?:\s+LIKE\s+({TEXT}))?\s+IN\s+EXPERIMENT\s+({NAME})(?:\s+RUN\s+({PART}))?$",
    issued_by=f"{_SQL}:293, 343",
)
def show_values(account: Account, call: Call) -> Result:
    """The metrics at their highest step, or the parameters, of one run or of all."""
    pattern = literals.pattern(call[2])
    experiment = account.experiments[call.name(3)]
    runs = [experiment.run(str(call[4]))] if call[4] else list(experiment.runs.values())
    metrics = str(call[1]).upper() == "METRICS"
    found = [
        [run.name, value["name"], value["value"], value.get("step")]
        for run in runs
        for value in (run.latest if metrics else run.params)
        if literals.like(pattern, value["name"])
    ]
    columns = ["run_name", "name", "value", "step"]
    return rows(columns[: 4 if metrics else 3], [row[: 4 if metrics else 3] for row in found])


_HISTORY = rf"TABLE\s*\(\s*\"?SYSTEM\$GET_EXPERIMENT_RUN_METRICS\"?\s*\(\s*({TEXT})[^,()]*,\s*({TEXT})[^,()]*\)\s*\)"


@handles(_HISTORY, issued_by=f"{_SQL}:318")
def metric_history(account: Account, call: Call) -> None:
    """Every point of a run's metrics, as a table function inside a query."""

    def table(match: re.Match[str]) -> str:
        experiment = account.experiments[call.resolve(literals.text(match[1]))]
        points = [
            [point["name"], point["step"], point["value"], point["timestamp"]]
            for point in experiment.run(literals.text(match[2])).metrics
        ]
        columns = {"METRIC_NAME": "VARCHAR", "STEP": "NUMBER", "VALUE": "FLOAT", "TIMESTAMP": "TIMESTAMP_NTZ"}
        return inline_table(columns, points)

    call.sql = re.sub(_HISTORY, table, call.sql, flags=re.IGNORECASE | re.DOTALL)
