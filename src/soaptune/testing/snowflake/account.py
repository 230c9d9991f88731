"""An emulated account: the one object that holds everything it knows.

Nothing of it is global, so that two accounts in one process share nothing.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fakesnow.instance import FakeSnow

from soaptune.testing.snowflake import (
    context,
    cortex,
    datasets,
    experiments,
    grants,
    integrations,
    jobhistory,
    jobs,
    objects,
    pools,
    registry,
    services,
    stagefiles,
    stagequeries,
    stages,
    tables,
)
from soaptune.testing.snowflake.cortex import AiComplete, Completion
from soaptune.testing.snowflake.datasets import Datasets
from soaptune.testing.snowflake.experiments import Experiments
from soaptune.testing.snowflake.faults import Faults
from soaptune.testing.snowflake.grants import Grants
from soaptune.testing.snowflake.inference import Services
from soaptune.testing.snowflake.integrations import Integrations
from soaptune.testing.snowflake.jobqueue import Jobs
from soaptune.testing.snowflake.models import Models
from soaptune.testing.snowflake.objects import Warehouses
from soaptune.testing.snowflake.pools import Pools
from soaptune.testing.snowflake.server import Server
from soaptune.testing.snowflake.sessions import Session
from soaptune.testing.snowflake.stages import Stages
from soaptune.testing.snowflake.statements import Statement, handlers_of, rewrites_of
from soaptune.testing.snowflake.tables import Tables

# In this order they are asked; the tables come last, because everything else is in their language too.
_MODULES = (
    context,
    stages,
    stagefiles,
    jobs,
    jobhistory,
    pools,
    integrations,
    registry,
    services,
    experiments,
    datasets,
    grants,
    objects,
    cortex,
    stagequeries,
    tables,
)


class Account:
    """A Snowflake account on a loopback port: what `emulated_snowflake` gives.

    Attributes:
        statements: Every statement that reached it, as the client sent it.
        faults: Orders what shall go wrong.
        ai: The scripted AI_COMPLETE: its calls, and how slow it is.
        user: The one user; `password` is the token that it logs in with.
        role: The role that owns what is there from the start.
        database: The database that exists from the start, with `schema`, and `warehouse` beside it.
        install_requirements: Whether jobs really install their requirements.
        fresh_processes: Whether no process of a job is a fork.
        root: The folder in which the files of stages, models and the like lie.
        fake: Fakesnow's instance, where the tables lie.
        stages: The stages; the subjects `jobs`, `pools`, `integrations`, `models`, `services`, `experiments`,
            `datasets`, `grants` and `warehouses` are attributes alike.
        closing: Set when it shuts down: whatever waits should wait on it.
        workers: The threads in which handlers run.
    """

    def __init__(
        self,
        *,
        ai_complete: Completion | None = None,
        install_requirements: bool = False,
        fresh_processes: bool = False,
        user: str = "TEST_USER",
        password: str = "token",
        role: str = "TEST_ROLE",
    ) -> None:
        self.user, self.password, self.role = user.upper(), password, role.upper()
        self.database, self.schema, self.warehouse = "TEST_DB", "PUBLIC", "TEST_WH"
        self.install_requirements, self.fresh_processes = install_requirements, fresh_processes
        self.closing = threading.Event()
        self.statements: list[Statement] = []
        self.root = Path(tempfile.mkdtemp(prefix="snowflake-account-"))
        self.workers = ThreadPoolExecutor(max_workers=64, thread_name_prefix="snowflake-account")
        self.fake: Any = FakeSnow()
        self.fake.connect(self.database, self.schema).close()
        # From here on a login to a database that is not there is just that.
        self.fake.create_database_on_connect = self.fake.create_schema_on_connect = False

        self.faults = Faults(self)
        self.warehouses = Warehouses(self)
        self.grants = Grants(self)
        self.ai = AiComplete(self, ai_complete)
        self.stages = Stages(self)
        self.pools = Pools(self)
        self.integrations = Integrations(self)
        self.models = Models(self)
        self.experiments = Experiments(self)
        self.datasets = Datasets(self)
        self.server = Server(self, handlers_of(_MODULES), rewrites_of(_MODULES))
        self.tables = Tables(self)
        self.services = Services(self)
        self.jobs = Jobs(self)

    @property
    def sessions(self) -> list[Session]:
        """Who is logged in."""
        return self.server.sessions

    @property
    def connection_parameters(self) -> dict[str, Any]:
        """What ``Session.builder.configs`` and ``snowflake.connector.connect`` take."""
        return {
            "account": "emulated",
            "host": "127.0.0.1",
            "port": self.server.port,
            "protocol": "http",
            "user": self.user,
            "password": self.password,
            "role": self.role,
            "database": self.database,
            "schema": self.schema,
            "warehouse": self.warehouse,
        }

    def close(self) -> None:
        """Stops jobs and services, logs everybody out, and removes every file."""
        self.closing.set()
        for subject in (self.jobs, self.services, self.datasets, self.experiments, self.models):
            subject.close()
        self._close_clients()
        self.server.close()
        self.workers.shutdown(wait=True)
        self.fake.duck_conn.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def _close_clients(self) -> None:
        """Closes the Snowpark sessions of this process that were left open.

        At its end, the interpreter would close them itself, and wait for a server that is gone.
        """
        snowpark: Any = sys.modules.get("snowflake.snowpark.session")
        for session in list(getattr(snowpark, "_active_sessions", ())):
            connection = session.connection
            if (connection.host, str(connection.port)) == ("127.0.0.1", str(self.server.port)):
                with contextlib.suppress(Exception):
                    session.close()
