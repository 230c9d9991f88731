"""The end of a job, as trackers see it: the one place from which a job writes runs and tables about itself.

Nothing here fails a job. One that fails in ArcticTraining or is killed does not come here: its run is written by
`soaptune.jobs.watch`, which `run()` waits in, or by ``job.sync()``.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from soaptune.errors import SoaptuneError
from soaptune.handles.report import EvalReport
from soaptune.handles.storage import FolderFiles
from soaptune.jobs.place import PLACE_FILE, Place
from soaptune.runtime.inputs import OUTPUT

__all__ = ["track_end", "track_end_here"]

_log = logging.getLogger("soaptune")


def track_end(place: Place, *, ok: bool, report: EvalReport | None = None) -> None:
    """Writes down how a job has ended: in an account its run and, for an evaluation, the report's metrics.

    Args:
        place: Where the job runs.
        ok: Whether it ended well.
        report: What it found, where it is an evaluation.
    """
    job = os.environ.get("SOAPTUNE_JOB", "")
    if place.account is None or not job:
        return
    from soaptune.snowflake.handles.report import write_report_table
    from soaptune.snowflake.jobs.experiments import collect, track
    from soaptune.snowflake.session import Connection
    from soaptune.snowflake.tables.query import SchemaRef

    account = place.account
    schema = SchemaRef(Connection(), account.database, account.db_schema)
    if report is not None:
        try:
            write_report_table(schema, place.name, job, report)
        except SoaptuneError as error:
            _log.warning("the report's metrics could not be written into a table: %s", error)
    app, output = FolderFiles("."), FolderFiles(OUTPUT)
    track(schema, account.experiment, job, lambda: collect(place.name, place.kind, app, output), ok=ok)


def track_end_here(*, ok: bool) -> None:
    """Does `track_end` for the job in whose ``app/`` folder the process was started; nothing outside of a job.

    Args:
        ok: Whether it ended well.
    """
    if Path(PLACE_FILE).is_file():
        track_end(Place.read(), ok=ok)
