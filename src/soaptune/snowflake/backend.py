"""`SnowflakeBackend`: jobs as Snowflake ML Jobs, next to the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from soaptune.errors import ConfigError, Violation
from soaptune.handles.deletion import Copy
from soaptune.handles.location import StagePath
from soaptune.jobs.arguments import require_key, require_spec
from soaptune.jobs.capabilities import Capabilities
from soaptune.jobs.estimate import Estimate
from soaptune.jobs.job import Job
from soaptune.jobs.lower import lowered
from soaptune.jobs.output import NamedTables
from soaptune.jobs.plan import Plan
from soaptune.jobs.spec import JobSpec
from soaptune.snowflake.jobs.control import Control
from soaptune.snowflake.jobs.lookup import find_record
from soaptune.snowflake.jobs.records import Record, Records
from soaptune.snowflake.jobs.stagefiles import StageFolder
from soaptune.snowflake.jobs.submission import Submitter
from soaptune.snowflake.names import Name, parse
from soaptune.snowflake.session import Connection
from soaptune.snowflake.settings import HasSettings, SnowflakeSettings
from soaptune.snowflake.tables.store import TableStore

if TYPE_CHECKING:
    from soaptune.snowflake.handles.model import StageModel
    from soaptune.snowflake.tables.query import SchemaRef

__all__ = ["SnowflakeBackend"]


class SnowflakeBackend(HasSettings, TableStore):
    """Runs jobs on Snowflake ML Jobs. Cheap to make; nothing connects before it is used.

    A job has a folder on the stage with the shape that it has on this machine: ``app/`` (what was submitted),
    ``inputs/``, ``output/``, ``log.txt``. A spec's ``secrets`` name *Snowflake secrets* here: with
    ``{"HF_TOKEN": "HF_TOKEN"}`` Snowflake puts the value of the secret ``HF_TOKEN`` of this schema into the job's
    environment, and it passes nowhere else. What a spec's ``keeps`` name lies in ``keeps/<name>/<key>`` of the stage:
    the job fetches it before its command starts and stores it when the command has ended, and `cleanup` leaves it.

    Names follow the rules of SQL: ``llm_demo`` means ``LLM_DEMO``, and ``'"llm_demo"'`` in double quotes itself.

    Examples:
        >>> backend = SnowflakeBackend(compute_pool="GPU_POOL", database="LLM_DEMO", schema="PUBLIC")
    """

    def __init__(
        self,
        *,
        compute_pool: str,
        database: str,
        schema: str,
        stage: str = "SOAPTUNE_STAGE",
        external_access_integrations: Sequence[str] = (),
        warehouse: str | None = None,
        role: str | None = None,
        connection_name: str | None = None,
        session: Any = None,
        connection_parameters: Mapping[str, Any] | None = None,
        runtime_environment: str | None = None,
        target_instances: int = 1,
        min_instances: int | None = None,
        env: Mapping[str, str] | None = None,
        pip_requirements: Sequence[str] | None = None,
        query_tag: str = "soaptune",
        experiment: str | None = "SOAPTUNE",
    ) -> None:
        """Names the place.

        Of the three ways to connect at most one is given. Without any of them the session is used that is active,
        inside a job the job's own, and else the default connection of ``connections.toml``.

        Args:
            compute_pool: The compute pool that jobs run on.
            database: The database with everything.
            schema: The schema with everything.
            stage: The stage with the jobs' files, bare or qualified; made when the first job is submitted.
            external_access_integrations: What lets jobs reach hosts such as PyPI and the Hugging Face hub.
            warehouse: The warehouse for SQL; the connection's own when None.
            role: The role; the connection's own when None.
            connection_name: A section of ``connections.toml``.
            session: A Snowpark session of yours, which stays yours. Copies and pickles of the backend leave it out.
            connection_parameters: What Snowpark's ``Session.builder.configs`` takes. A pickle of the backend leaves
                secrets out: where it is opened, ``password`` is read from ``SNOWFLAKE_PASSWORD``, and so on.
            runtime_environment: The tag or full name of the jobs' image; Snowflake's choice when None.
            target_instances: How many nodes a job runs on.
            min_instances: With how many of them a job starts; with all when None.
            env: Environment variables of all jobs, no secrets.
            pip_requirements: What jobs install beside what their step needs.
            query_tag: What marks our statements in the query history, where the session has no tag of its own.
            experiment: The experiment of this schema that gets a run for each job; None tracks nothing.

        Raises:
            ConfigError: The arguments cannot work; all that is wrong with them is reported at once.
        """
        given: dict[str, Any] = {
            "compute_pool": compute_pool,
            "database": database,
            "schema": schema,
            "stage": stage,
            "external_access_integrations": external_access_integrations,
            "warehouse": warehouse,
            "role": role,
            "runtime_environment": runtime_environment,
            "target_instances": target_instances,
            "min_instances": min_instances,
            "env": dict(env or {}),
            "pip_requirements": pip_requirements or (),
            "query_tag": query_tag,
            "experiment": experiment,
        }
        ways = {
            "connection_name": connection_name,
            "session": session,
            "connection_parameters": connection_parameters,
        }
        chosen = [name for name, way in ways.items() if way is not None]
        problems = [f"{' and '.join(chosen)} exclude each other: there is one way to connect"] * (len(chosen) > 1)
        try:
            self.settings = SnowflakeSettings.model_validate(given)
        except ConfigError as error:
            problems.append(str(error).removeprefix("SnowflakeSettings: "))
        if problems:
            raise ConfigError("SnowflakeBackend: " + "; ".join(problems))
        self.connection = Connection(
            connection_name=connection_name,
            connection_parameters=connection_parameters,
            session=session,
            warehouse=warehouse,
            role=role,
            database=self.database_name,
            schema=self.schema_name,
            query_tag=query_tag,
        )

    @property
    def name(self) -> str:
        """``"snowflake"``."""
        return "snowflake"

    @property
    def files(self) -> StageFolder:
        """The stage."""
        return StageFolder(self.connection, self.stage_name)

    @property
    def control(self) -> Control:
        """What asks Snowflake about the services behind jobs."""
        return Control(self.connection, self.database_name, self.schema_name)

    @property
    def records(self) -> Records:
        """What was written down about submissions."""
        return Records(self.files)

    @property
    def account(self) -> tuple[str, str]:
        """The names of the organization and the account.

        Raises:
            BackendError: The account cannot be reached.
        """
        return self.connection.account

    def name_of(self, name: str) -> Name:
        """The full name of an object of this schema.

        Args:
            name: Its exact name.
        """
        return Name(self.database_name, self.schema_name, name)

    def session(self) -> Any:
        """A live Snowpark session for this thread.

        Raises:
            BackendError: The account cannot be reached, or the login was refused.
            MissingExtraError: Snowflake's packages are not installed.
        """
        return self.connection.session()

    @property
    def capabilities(self) -> Capabilities:
        """What jobs in the account can do; nothing is asked of it. See `soaptune.jobs.backend.Backend.capabilities`."""
        return Capabilities(
            reads=frozenset({"stage", "tables", "query"}),
            nodes=self.target_instances,
            datasets="tables",
            endpoints="service",
            cortex=True,
            carries_embedded_model=False,
            # An image is built before a service answers for the first time.
            startup_seconds=3_600.0,
        )

    def lower(self, plan: Plan) -> JobSpec:
        """Turns what a step wants into a job of the account; see `soaptune.jobs.backend.Backend.lower`."""
        output = plan.output
        if isinstance(output, NamedTables):
            name = parse(output.name, database=self.database_name, schema=self.schema_name)
            output = output.replace(name=name.sql)
        account, nodes, keeps = self.settings.account, self.target_instances, self.settings.kept(plan.keeps)
        return lowered(plan, backend=self.name, keeps=keeps, output=output, account=account, nodes=nodes)

    def estimate(self, plan: Plan) -> Estimate:
        """Counts the rows and tokens of a plan that asks Cortex; the rows stay in the account.

        Raises:
            ConfigError: The plan asks nothing that can be counted before the job runs.
            DataError: A column is missing.
            BackendError: The account refuses.
        """
        from soaptune.snowflake.tables.cortex import estimate

        return estimate(self.schema_ref, self.lower(plan))

    def preflight(self, spec: JobSpec) -> list[Violation]:
        """What stands in the way of a job here, each finding with the SQL that mends it.

        Args:
            spec: The job.
        """
        from soaptune.snowflake.preflight.findings import findings

        return findings(self.settings, self.connection, spec)

    def setup_sql(self, *, role: str) -> str:
        """The script with which an administrator prepares the account.

        Args:
            role: The role that is to use this backend.
        """
        from soaptune.snowflake.preflight.setup import setup_sql

        return setup_sql(self.settings, role=role)

    def receive(self, handle: Any) -> Any:
        """Copies what a handle stands for into the account; see `soaptune.handles.location.Receiver`.

        Args:
            handle: A `Dataset` or a `Model`.
        """
        from soaptune.snowflake.handles.open import receive

        return receive(handle, schema=self.schema_ref, files=self.files)

    @property
    def schema_ref(self) -> SchemaRef:
        """The backend's schema, and the way to it."""
        from soaptune.snowflake.tables.query import SchemaRef

        return SchemaRef(self.connection, self.database_name, self.schema_name)

    def model(self, location: StagePath | str) -> StageModel:
        """Opens a model on a stage.

        Args:
            location: Its ``model.location``, or that as text: ``@"DB"."SCHEMA"."STAGE"/folder``.

        Raises:
            BackendError: The stage cannot be read.
            DataError: There is no model.
        """
        from soaptune.snowflake.handles.model import folder_at, open_model

        return open_model(folder_at(self.connection, location))

    def submit(self, spec: JobSpec, *, key: str | None = None, retry: bool = False) -> Job[Any]:
        """Sends a job and comes back at once; see `soaptune.jobs.backend.Backend.submit`.

        Raises:
            ConfigError: `retry` without a key.
            BackendError: The job cannot be sent, or the key belongs to a job with another spec.
        """
        require_spec(spec)
        require_key(key, retry=retry)
        job = self._job(self._submitter.submit(spec, key=key))
        if retry and job.status in ("failed", "cancelled"):
            job = self._job(self._submitter.submit(spec, key=key, after=job.id))
        return job

    def job(self, job_id: str) -> Job[Any]:
        """Finds a job again; see `soaptune.jobs.backend.Backend.job`.

        Args:
            job_id: Its id, or the name of its service; bare, or qualified with database and schema.

        Raises:
            JobNotFound: There is none of that id; the error names the nearest.
            BackendError: The job's record cannot be read.
        """
        return self._job(find_record(job_id, records=self.records, settings=self.settings))

    def find(self, key: str) -> Job[Any] | None:
        """Finds the job of a submission by its key; see `soaptune.jobs.backend.Backend.find`."""
        record = self._submitter.find(key)
        return None if record is None else self._job(record)

    def jobs(self) -> list[Job[Any]]:
        """All jobs on this stage, the newest first; what cannot be read is left out."""
        return [self._job(record) for record in self.records.all()]

    def cleanup(
        self,
        older_than: timedelta | float | None = None,
        *,
        jobs: Iterable[str] | None = None,
        dry_run: bool = False,
    ) -> list[str]:
        """Removes jobs that have ended, with their results on the stage; see `soaptune.snowflake.jobs.cleanup.cleanup`.

        Args:
            older_than: Only what was submitted longer ago than this; seconds, when it is a number.
            jobs: Only these, by id.
            dry_run: Whether to list what would be removed, and leave it.

        Returns:
            What was removed.
        """
        from soaptune.snowflake.jobs.cleanup import cleanup

        chosen = None if jobs is None else {self.job(one).id for one in jobs}
        return cleanup(self.schema_ref, self.files, older_than=older_than, jobs=chosen, dry_run=dry_run)

    def copies_of(self, data: Any) -> list[Copy]:
        """What jobs on this stage hold of a dataset's text; see `soaptune.Dataset.delete`."""
        from soaptune.snowflake.jobs.copies import copies_of

        return copies_of(data, self.jobs())

    def close(self) -> None:
        """Closes the sessions that this backend has made; the next use makes new ones."""
        self.connection.close()

    def __repr__(self) -> str:
        where = f"compute_pool={self.compute_pool!r}, database={self.database!r}, schema={self.schema!r}"
        return f"SnowflakeBackend({where}, stage={self.stage!r})"

    @property
    def _submitter(self) -> Submitter:
        return Submitter(self.connection, self.settings)

    def _job(self, record: Record) -> Job[Any]:
        from soaptune.snowflake.jobs.job import SnowflakeJob

        return SnowflakeJob(record, schema=self.schema_ref, files=self.files, experiment=self.experiment)
