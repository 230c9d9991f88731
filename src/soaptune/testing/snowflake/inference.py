"""The inference services of an account: their containers, ingresses and logs, and the images built for them."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from soaptune.testing.snowflake import literals
from soaptune.testing.snowflake.names import Name, unquoted
from soaptune.testing.snowflake.results import SqlError, missing
from soaptune.testing.snowflake.service_container import Container, ContainerError
from soaptune.testing.snowflake.service_functions import register
from soaptune.testing.snowflake.service_ingress import Ingress

if TYPE_CHECKING:
    from soaptune.testing.snowflake.account import Account
    from soaptune.testing.snowflake.models import Version

Status = Literal["PENDING", "RUNNING", "FAILED", "DONE", "SUSPENDED"]


@dataclass
class Service:
    """A service: one that answers for a model's version, or one that builds its image.

    Attributes:
        name: Its full name.
        kind: Which of the two it is; also the name of its container.
        spec: The ``service`` part of the specification it was made from, as the client sent it.
        model: The model that it answers for.
        version: The version that it answers for, None for one that builds.
        log: The file with its log.
        status: Where it stands.
        message: Why it failed.
        restarts: How often its container was started again.
    """

    name: Name
    kind: Literal["model-inference", "model-build"]
    spec: dict[str, Any]
    owner: str
    model: Name
    version: Version | None
    log: Path
    status: Status = "PENDING"
    message: str = ""
    restarts: int = 0
    comment: str = ""
    created: str = field(default_factory=literals.now)
    container: Container | None = field(default=None, repr=False)
    ingress: Ingress | None = field(default=None, repr=False)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def min_instances(self) -> int:
        """How many instances there are at least."""
        return int(self.spec.get("min_instances", 0))

    @property
    def max_instances(self) -> int:
        """How many instances there are at most."""
        return int(self.spec.get("max_instances", 1))

    @property
    def instances(self) -> int:
        """How many instances it says it has; one process answers for all of them."""
        return max(1, self.min_instances) if self.status == "RUNNING" else 0

    @property
    def engine(self) -> str | None:
        """The inference engine that was asked for, such as ``vllm``; here the SDK's own code answers in its place."""
        return self._engine_spec.get("inference_engine_name")

    @property
    def engine_args(self) -> list[str]:
        """The engine's arguments."""
        return list(self._engine_spec.get("inference_engine_args") or [])

    @property
    def _engine_spec(self) -> dict[str, Any]:
        spec: dict[str, Any] | None = self.spec.get("inference_engine_spec")
        return spec or {}

    def note(self, line: str) -> None:
        """Adds a line to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"INFO {line}\n")


class Services:
    """The services of an account; ``account.services[name]`` is one of them."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.lock = threading.RLock()
        self.folder = Path(tempfile.mkdtemp(prefix="snowflake-services-"))
        self._services: dict[Name, Service] = {}
        self._images: set[Path] = set()
        self._warehouse: dict[Path, Service] = {}
        self._closed = False
        self._count = 0
        self._error: str | None = None
        register(account)

    def get(self, name: Name) -> Service | None:
        """A service, or None if it does not exist."""
        with self.lock:
            return self._services.get(name)

    def __getitem__(self, name: Name) -> Service:
        """A service.

        Raises:
            SqlError: If it does not exist.
        """
        if (service := self.get(name)) is None:
            raise missing("Service", name.dotted)
        return service

    def all(self) -> list[Service]:
        """All services, in the order they were made."""
        with self.lock:
            return list(self._services.values())

    def of(self, version: Version) -> list[Service]:
        """The services that answer for a version."""
        return [service for service in self.all() if service.version is version]

    def add(self, service: Service) -> Service:
        """Lists a service.

        Raises:
            SqlError: If there is one of that name.
        """
        with self.lock:
            if service.name in self._services:
                text = f"SQL compilation error:\nObject '{service.name.dotted}' already exists."
                raise SqlError(2002, text, "42710")
            self._services[service.name] = service
            return service

    def failed(self, error: str) -> None:
        """Notes what went wrong in a function that a statement called."""
        with self.lock:
            self._error = error

    def take_error(self) -> SqlError | None:
        """What went wrong last in a function that a statement called, once."""
        with self.lock:
            error, self._error = self._error, None
        return SqlError(100351, error, "22023") if error else None

    def fail(self, service: Service, error: ContainerError) -> None:
        """Gives a service up that did not start; it stays listed, and so does its log."""
        service.status, service.message = "FAILED", str(error)
        self._end(service)

    def log_file(self) -> Path:
        """A new file for a log."""
        with self.lock:
            self._count += 1
            return self.folder / f"{self._count}.log"

    def build(self, service: Service, spec: dict[str, Any], query_id: str) -> None:
        """Builds the image of a service, unless there is one already; it is listed as a service of its own.

        Nothing is installed: what the image would hold is the environment that the emulator runs in.
        """
        assert service.version is not None
        image = service.version.folder
        with self.lock:
            if image in self._images and not spec.get("force_rebuild"):
                return
            self._images.add(image)
        name = service.name._replace(name="MODEL_BUILD_" + build_suffix(query_id))
        made = Service(name, "model-build", {**spec}, service.owner, service.model, None, self.log_file())
        self.add(made).status = "RUNNING"
        requirements = service.version.packed / "env" / "requirements.txt"
        wanted = requirements.read_text("utf-8").split() if requirements.is_file() else []
        made.note(f"building the image of {service.model.dotted} version {service.version.name}")
        made.note(f"with {', '.join(wanted) or 'no packages of its own'}")
        made.note("image pushed")
        made.status = "DONE"

    def wait_for_nodes(self, service: Service) -> None:
        """Takes nodes of the pool for a service's instances, and waits until there are some.

        Raises:
            ContainerError: If the service is dropped or the account closed before.
        """
        pool, name = unquoted(str(service.spec["compute_pool"])), service.name.dotted
        least = max(1, service.min_instances)
        while not self.account.pools.take(pool, name, least, least, service=True):
            service.message = f"Waiting for {least} free nodes of {pool}."
            if self.account.closing.wait(0.05) or self.get(service.name) is not service:
                raise ContainerError("the service was dropped before it started")
        service.message = ""

    def start(self, service: Service) -> Container:
        """Starts the container of a service and waits until it answers.

        Raises:
            ContainerError: If it does not come up.
        """
        assert service.version is not None
        with service.lock:
            with self.lock:
                if self._closed:
                    raise ContainerError("the account is closed")
                scratch = self.folder / f"container-{len(self._services)}-{id(service)}"
                workers = int(service.spec.get("num_workers") or 1)
                if service.container is not None:
                    service.container.stop()
                service.container = Container(service.version.packed, scratch, service.log, workers=workers)
            service.container.wait_until_ready()
            if service.spec.get("ingress_enabled") and service.ingress is None:
                service.ingress = Ingress(lambda: self.container(service), self.accepts)
            service.status = "RUNNING"
            return service.container

    def container(self, service: Service) -> Container:
        """The container that answers for a service: one that sleeps is woken, one that died is started again.

        Raises:
            ContainerError: If there is none.
        """
        with service.lock:
            if service.container is not None and service.container.alive:
                return service.container
            if service.status not in {"RUNNING", "SUSPENDED"}:
                raise ContainerError(f"the service {service.name.dotted} is {service.status}: {service.message}")
            if service.status == "RUNNING":
                service.restarts += 1
                service.note("the container is started again")
            elif service.spec.get("compute_pool"):
                self.wait_for_nodes(service)
            return self.start(service)

    def suspend(self, service: Service) -> None:
        """Stops the container; the next request wakes it."""
        with service.lock:
            if service.container is not None:
                service.container.stop()
            service.status = "SUSPENDED"
        self._give_nodes(service)

    def warehouse(self, version: Version) -> Container:
        """The container that runs a version's functions in the warehouse.

        Raises:
            ContainerError: If it does not come up.
        """
        with self.lock:
            name = Name("", "", version.name)
            made = Service(name, "model-inference", {}, "", name, version, self.log_file(), status="SUSPENDED")
            service = self._warehouse.setdefault(version.folder, made)
        return self.container(service)

    def accepts(self, token: str) -> bool:
        """Whether the ingress lets somebody in: the token is the one that also logs in."""
        return token == self.account.password

    def drop(self, service: Service) -> None:
        """Removes a service, its container and its ingress."""
        with self.lock:
            self._services.pop(service.name, None)
        self._end(service)

    def close(self) -> None:
        """Ends all containers and ingresses."""
        with self.lock:
            self._closed = True
            services = [*self._services.values(), *self._warehouse.values()]
            self._services.clear()
            self._warehouse.clear()
        if services:
            with ThreadPoolExecutor(len(services)) as pool:
                list(pool.map(self._end, services))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, service: Service) -> None:
        # Not under the service's lock: who waits for a container that is loading holds it until the container ends.
        if service.container is not None:
            service.container.stop()
        if service.ingress is not None:
            service.ingress.close()
        self._give_nodes(service)

    def _give_nodes(self, service: Service) -> None:
        if service.spec.get("compute_pool") and service.kind == "model-inference":
            self.account.pools.give(unquoted(str(service.spec["compute_pool"])), service.name.dotted)


def build_suffix(query_id: str) -> str:
    """What the SDK expects in the name of a build of a statement: model/_client/ops/deployment_step.py:25."""
    number = str(int(query_id.replace("-", ""), 16))
    return hashlib.md5(number.encode(), usedforsecurity=False).hexdigest()[:8].upper()
