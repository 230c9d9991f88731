"""Reports of evaluations in an account: read from the stage, and kept in a table with those before them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from soaptune.common.files import atomic_dir
from soaptune.errors import BackendError, DataError
from soaptune.handles.manifests import open_manifest
from soaptune.handles.report import REPORT_FILE, EvalReport
from soaptune.snowflake.jobs.stagefiles import StageFolder
from soaptune.snowflake.names import Name, quote, table_prefix
from soaptune.snowflake.session import NOT_FOUND, error_number
from soaptune.snowflake.tables.query import SchemaRef

__all__ = ["StageReport", "open_report", "read_report_table", "report_table", "write_report_table"]

_COLUMNS = {
    "JOB": "VARCHAR",
    "METRIC": "VARCHAR",
    "VALUE": "DOUBLE",
    "LOW": "DOUBLE",
    "HIGH": "DOUBLE",
    "N": "NUMBER(38, 0)",
    "MODEL": "VARCHAR",
    "DATA": "VARCHAR",
    "SPLIT": "VARCHAR",
    "SYNTHETIC": "BOOLEAN",
    "CREATED": "VARCHAR",
}


class StageReport(EvalReport):
    """A report whose table of answers stays in the account; `download` brings it along."""

    _stage: StageFolder | None = PrivateAttr(default=None)
    _table: Name | None = PrivateAttr(default=None)

    @property
    def table(self) -> Name | None:
        """The table that holds the metrics of this report and of those before it; None when it is not kept in one."""
        return self._table

    def lies_in(self, folder: StageFolder) -> StageReport:
        """Notes where the report was read from; gives this report."""
        self._stage = folder
        return self

    def kept_in(self, table: Name) -> StageReport:
        """Notes which table holds the metrics; gives this report."""
        self._table = table
        return self

    def download(self, path: str | Path) -> EvalReport:
        """Brings the report and its table of answers, which holds text from the data, into a folder of this machine.

        Args:
            path: A new folder.

        Returns:
            The report there.

        Raises:
            BackendError: The stage cannot be read.
            DataError: There is something at that path already, or the report was not read from a stage.
        """
        if self._stage is None:
            raise DataError("this report was not read from a stage; save(path) writes it to a file")
        with atomic_dir(path) as folder:
            for name in (REPORT_FILE, self.predictions):
                data = self._stage.read_bytes(name) if name else None
                if data is not None:
                    (folder / Path(name).name).write_bytes(data)
        return EvalReport.open(path)


def open_report(folder: StageFolder) -> StageReport:
    """Reads a report from a job's output.

    Args:
        folder: The output on the stage.

    Raises:
        BackendError: The stage cannot be read.
        DataError: There is no report that this version reads.
    """
    return open_manifest(folder, StageReport, name=REPORT_FILE).lies_in(folder)


def report_table(schema: SchemaRef, name: str) -> Name:
    """The table that keeps the metrics of all reports of jobs of a name.

    Args:
        schema: The schema.
        name: The jobs' name.
    """
    return Name(schema.database, schema.schema, f"{table_prefix(name)}_REPORT")


def write_report_table(place: SchemaRef, name: str, job: str, report: EvalReport) -> Name:
    """Adds a report's metrics to a table; those of a job that are there already are left as they are.

    Args:
        place: The schema.
        name: The name of the jobs whose reports it keeps.
        job: The job that made the report.
        report: The report.

    Returns:
        The table.

    Raises:
        BackendError: The table cannot be made or written.
    """
    table = report_table(place, name)
    columns = ", ".join(f"{quote(column)} {kind}" for column, kind in _COLUMNS.items())
    place.connection.rows("making the table of reports", f"CREATE TABLE IF NOT EXISTS {table.sql} ({columns})")
    lineage = report.lineage
    more = (lineage.model_fingerprint, lineage.data_fingerprint, lineage.split, report.synthetic, lineage.created)
    values = [(job, key, m.value, m.low, m.high, m.n, *more) for key, m in report.metrics.items()]
    if not values:
        return table
    names = ", ".join(quote(column) for column in _COLUMNS)
    row = f"({', '.join('?' for _ in _COLUMNS)})"
    given = ", ".join(f"S.{quote(column)}" for column in _COLUMNS)
    # One statement, so that a job that is looked at twice at the same time is still written once.
    sql = (
        f"MERGE INTO {table.sql} AS T USING (SELECT * FROM (VALUES {', '.join([row] * len(values))}) AS V({names})) "
        f'AS S ON T."JOB" = S."JOB" AND T."METRIC" = S."METRIC" '
        f"WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({given})"
    )
    place.connection.rows("writing the report's metrics", sql, *[value for line in values for value in line])
    return table


def read_report_table(place: SchemaRef, name: str, job: str | None = None) -> list[dict[str, Any]]:
    """The metrics in a table of reports, by job and metric.

    Args:
        place: The schema.
        name: The name of the jobs whose reports it keeps.
        job: Only those of one job.

    Returns:
        A mapping by column for each row; none when there is no such table.

    Raises:
        BackendError: The table cannot be read.
    """
    table = report_table(place, name)
    where, binds = (' WHERE "JOB" = ?', (job,)) if job is not None else ("", ())
    try:
        rows = place.connection.rows(
            "reading reports", f'SELECT * FROM {table.sql}{where} ORDER BY "JOB", "METRIC"', *binds
        )
    except BackendError as error:
        if error_number(error) in NOT_FOUND:
            return []
        raise
    return [row.as_dict() for row in rows]
