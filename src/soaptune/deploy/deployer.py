"""`Deployer`: the step that turns a model and its report into an `Endpoint`, on this machine or on Snowflake."""

from __future__ import annotations

import os
from typing import Any, Generic, cast

from pydantic import Field
from typing_extensions import TypeVar

from soaptune import __version__
from soaptune.config import TokenVariable
from soaptune.deploy.gates import Gates
from soaptune.deploy.keys import key_hashes
from soaptune.deploy.payload import ServePayload
from soaptune.deploy.server import ServerOptions
from soaptune.deploy.service import ServiceOptions
from soaptune.errors import ConfigError, GateError, JobTimeout, Violation, raise_on_errors
from soaptune.handles.endpoint import API_KEY, Endpoint, is_loopback_host
from soaptune.handles.model import Model
from soaptune.handles.report import EvalReport
from soaptune.handles.weights import changed_weights, was_merged_here
from soaptune.jobs.arguments import require_backend, require_capabilities, require_handle
from soaptune.jobs.backend import Backend
from soaptune.jobs.base_model import bring_base
from soaptune.jobs.capabilities import Capabilities
from soaptune.jobs.job import Job
from soaptune.jobs.memory_need import inference_memory
from soaptune.jobs.needs import Needs
from soaptune.jobs.plan import Plan, as_json
from soaptune.jobs.requirements import requirements
from soaptune.jobs.spec import Inputs, JobName, JobSpec
from soaptune.jobs.step import Step, cancelled_by_interrupt
from soaptune.tasks.spec import TaskSpec
from soaptune.tasks.task import Task

__all__ = ["Deployer"]

OutT = TypeVar("OutT", default=Any)


class Deployer(Step[Endpoint[OutT]], Generic[OutT]):
    """Serves a model as an OpenAI-compatible endpoint.

    Every answer fits the task's schema: decoding is constrained by it. On this machine the endpoint is a process of
    its own that ends with the one that started it, unless `detach` is set. On Snowflake it is a version in the Model
    Registry with an inference service, and stays until ``endpoint.stop()``.

    Examples:
        >>> deployer = Deployer(name="soap-notes", require=Gates(schema_valid=0.95))
        >>> endpoint = deployer.run(model, report, on=LocalBackend("runs"))  # doctest: +SKIP
    """

    name: JobName
    """Under which name the model is served (the ``model`` of a request), and the job's name."""

    task: Task[OutT] | None = None
    """The task with its class, so that `Endpoint.generate` gives instances of it. Without it, the tasks of
    `soaptune.tasks` are known by their contents, and the outputs of others are dictionaries."""

    require: Gates | None = None
    """What the model's report must show; None deploys any model."""

    host: str = "127.0.0.1"
    """The address to listen at. One that others can reach needs an API key, see `server`."""

    port: int = Field(default=0, ge=0, le=65535)
    """The port to listen at; 0 for any that is free."""

    max_new_tokens: int = Field(default=512, ge=1)
    """How many tokens an answer may have. One that needs more is brought to a valid end and marked as cut."""

    max_request_bytes: int = Field(default=1_000_000, ge=1)
    """How large the body of a request may be."""

    detach: bool = False
    """Whether the endpoint stays when the process that started it ends; stop it with ``backend.job(id).cancel()``."""

    startup_timeout: float | None = Field(default=None, gt=0)
    """Seconds that `run` waits for the first answer before it stops the endpoint again. None waits ten minutes on this
    machine and an hour on Snowflake, which builds an image first."""

    token: TokenVariable | None = None
    """*Name* of the environment variable that holds the hub's token for a gated base model, never the token itself."""

    server: ServerOptions = ServerOptions()
    """API keys, limits and HTTPS of an endpoint on this machine; Snowflake has its own and takes no notice of it."""

    service: ServiceOptions = ServiceOptions()
    """How Snowflake serves the model; other backends take no notice of it."""

    def check(self) -> list[Violation]:
        """All that is wrong with the options themselves."""
        found = [finding.under("task") for finding in self.task.check()] if self.task is not None else []
        if not is_loopback_host(self.host):
            found += self._reachable()
        return [*found, *self.server.check(), *self.service.check()]

    def _reachable(self) -> list[Violation]:
        """What is wrong with an endpoint that others can reach."""
        if not self.server.has_keys:
            return [
                Violation(
                    path="host",
                    code="public-without-key",
                    message="Whoever reaches this address could ask the model: the endpoint has no API key.",
                    hint=f'Set the environment variable {API_KEY} and server=ServerOptions(api_key="{API_KEY}"), or '
                    "stay on loopback.",
                )
            ]
        if self.server.tls_certificate is None:
            message = "Keys and texts go over the network unencrypted."
            hint = "Give a certificate (tls_certificate, tls_key), or put a proxy with HTTPS in front of it."
            return [Violation(path="host", code="public-without-tls", level="warning", message=message, hint=hint)]
        return []

    def plan(self, model: Model, report: EvalReport | None = None, *, given: Capabilities) -> Plan:
        """What the step wants, wherever it runs; nothing is read or asked.

        Args:
            model: The model to serve.
            report: Its report.
            given: What the backend can do.

        Raises:
            DataError: The model has learned no task.
            ConfigError: An input is of a wrong kind.
        """
        require_capabilities(given)
        require_handle(model, Model, "model")
        require_handle(report, EvalReport, "report", optional=True)
        manifest = model.manifest
        inputs: Inputs = {"model": model.location}
        base = None
        if manifest.method == "lora":
            base, folder = bring_base(model.base, given=given)
            inputs.update(folder)
        payload = ServePayload(
            name=self.name,
            host=self.host,
            port=self.port,
            max_request_bytes=self.max_request_bytes,
            server=self.server,
            service=self.service,
            # The job gives up before its submitter does: it alone can drop a service again.
            startup_seconds=0.9 * (self.startup_timeout or given.startup_seconds),
            max_new_tokens=self.max_new_tokens,
            task=model.task if self.task is None else self.task.spec(),
            model_fingerprint=model.fingerprint,
            base=base,
            report_fingerprint=None if report is None else report.fingerprint,
            metrics={} if report is None else {name: metric.value for name, metric in report.metrics.items()},
            data_fingerprint=manifest.data_fingerprint,
            spec_fingerprint=manifest.spec_fingerprint,
            synthetic=manifest.synthetic,
            soaptune_version=__version__,
        )
        of_hub = manifest.method == "lora" and model.base.on_hub
        return Plan(
            name=self.name,
            kind="endpoint",
            files={"step.json": as_json(payload), "requirements.txt": requirements("deploy")},
            inputs=inputs,
            needs=Needs(
                models=(model.base,) if of_hub else (),
                packages=_packages(model),
                secrets=self._secrets(given),
                memory=() if model.base.is_embedded else (inference_memory(model.base.name),),
            ),
            # The job that makes a service ends by itself, and must not end with its submitter.
            detach=self.detach or given.endpoints == "service",
        )

    def compile(self, model: Model, report: EvalReport | None = None, *, on: Backend) -> JobSpec:
        """Writes the job down, without running anything.

        Args:
            model: The model to serve.
            report: Its report.
            on: The backend. On Snowflake the job makes a service and ends; elsewhere it serves until it is stopped.

        Returns:
            The job. The same input gives the same bytes.

        Raises:
            DataError: The model has learned no task.
        """
        self._require(model, report, on)
        return on.lower(self.plan(model, report, given=on.capabilities))

    def preflight(self, model: Model, report: EvalReport | None = None, *, on: Backend) -> list[Violation]:
        """Looks at the model and its report.

        Args:
            model: The model to serve.
            report: Its report.
            on: The backend that is to run the job.
        """
        self._require(model, report, on)
        return [
            *self._gate_findings(model, report),
            *self._task_findings(model),
            *self._key_findings(on),
            *changed_weights(model),
        ]

    def submit(
        self,
        model: Model,
        report: EvalReport | None = None,
        *,
        on: Backend,
        key: str | None = None,
        retry: bool = False,
    ) -> Job[Endpoint[Any]]:
        """Starts the endpoint and comes back at once.

        Args:
            model: The model to serve.
            report: Its report.
            on: Where it runs.
            key: Idempotency key: submitting again under the same key gives the endpoint that is there already.
            retry: With a key: whether a job under it that failed or was cancelled is tried again.

        Returns:
            The job. Its ``result()`` waits until the endpoint answers; a class of your own is bound to that with
            `Endpoint.bind`.

        Raises:
            CheckFailed: The check or the preflight found an error.
            GateError: The report does not pass the gates, is missing, or is not of this model.
        """
        self._require(model, report, on)
        raise_on_errors(type(self).__name__, self.check())
        self._refuse(model, report)
        return self._submit(model, report, on=on, key=key, retry=retry)

    def run(
        self,
        model: Model,
        report: EvalReport | None = None,
        *,
        on: Backend,
        key: str | None = None,
        retry: bool = False,
    ) -> Endpoint[OutT]:
        """Starts the endpoint and waits until it answers.

        Args:
            model: The model to serve.
            report: Its report.
            on: Where it runs.
            key: Idempotency key: running again under the same key gives the endpoint that is there already.
            retry: With a key: whether a job under it that failed or was cancelled is tried again.

        Returns:
            The endpoint.

        Raises:
            CheckFailed: The check or the preflight found an error.
            GateError: The report does not pass the gates, is missing, or is not of this model.
            JobFailed: The endpoint did not start; the error has the last lines of its log.
            JobTimeout: It did not answer within `startup_timeout` and was stopped.
        """
        self._require(model, report, on)
        patience = self.startup_timeout or on.capabilities.startup_seconds
        with cancelled_by_interrupt(on, key) as key:
            job = self.submit(model, report, on=on, key=key, retry=retry)
            try:
                job.wait(patience)
                endpoint = job.result()
            except JobTimeout as error:
                job.cancel()
                raise JobTimeout(
                    f"the endpoint {self.name!r} (job {job.id}) did not answer within {patience:g} s and was "
                    "stopped; a longer startup_timeout gives a large model more time to load"
                ) from error
        if self.server.api_key is not None and on.capabilities.endpoints != "service":
            endpoint.bind_key(self.server.api_key)
        if self.service.token is not None and on.capabilities.endpoints == "service":
            endpoint.bind_key(self.service.token)
        return endpoint.bind(self.task) if self.task is not None else cast("Endpoint[OutT]", endpoint)

    def _secrets(self, given: Capabilities) -> dict[str, str]:
        secrets = {"HF_TOKEN": self.token} if self.token else {}
        if self.server.api_key is not None and given.endpoints != "service":
            secrets[API_KEY] = self.server.api_key
        return secrets

    def _key_findings(self, on: Backend) -> list[Violation]:
        if on.capabilities.endpoints == "service":
            return []
        try:
            key_hashes(self.server, os.environ)
        except ConfigError as error:
            return [Violation(path="server", code="api-keys", message=f"{error}.")]
        return []

    def _require(self, model: Model, report: EvalReport | None, on: Backend) -> None:
        require_backend(on)
        require_handle(model, Model, "model")
        require_handle(report, EvalReport, "report", optional=True)

    def _refuse(self, model: Model, report: EvalReport | None) -> None:
        refused = [finding for finding in self._gate_findings(model, report) if finding.level == "error"]
        if refused:
            lines = "\n".join(f"  - {finding}" for finding in refused)
            raise GateError(f"the model {model.fingerprint[:19]} is not deployed:\n{lines}")

    def _gate_findings(self, model: Model, report: EvalReport | None) -> list[Violation]:
        if report is None:
            if self.require is None:
                return []
            return [
                Violation(
                    path="report",
                    code="no-report",
                    message="There are gates, but no report to hold against them.",
                    hint="Evaluate the model, and give its report to the Deployer.",
                )
            ]
        # A merged model was compared with its adapter when it was made; the adapter's report is good for it, where that
        # was here and not only a manifest says so.
        of = report.lineage.model_fingerprint
        if of != model.fingerprint and not (
            of == model.manifest.merged_from and was_merged_here(model.fingerprint, of)
        ):
            return [
                Violation(
                    path="report",
                    code="other-model",
                    message=f"The report is of the model {report.lineage.model_fingerprint[:19]}, not of this one "
                    f"({model.fingerprint[:19]}).",
                    hint="Evaluate this model.",
                )
            ]
        return self.require.check(report) if self.require is not None else []

    def _task_findings(self, model: Model) -> list[Violation]:
        learned = model.manifest.task
        if learned is None:
            return [
                Violation(
                    path="model",
                    code="no-task",
                    message="The model was pre-trained and has learned no task.",
                    hint="Fine-tune it first.",
                )
            ]
        if self.task is None or _what_counts(self.task.spec()) == _what_counts(learned):
            return []
        return [
            Violation(
                path="task",
                code="other-task",
                message=f"The task {self.task.name!r} is not what the model has learned (task {learned.name!r}): "
                "prompts or outputs differ.",
                hint="Serve the model with the task that it was trained on.",
            )
        ]


def _what_counts(spec: TaskSpec) -> tuple[Any, ...]:
    """What of a task shapes prompts and answers."""
    return spec.system_prompt, spec.user_template, spec.output_schema, spec.output_fields


def _packages(model: Model) -> tuple[str, ...]:
    needed = ("fastapi", "uvicorn", "llguidance", "torch", "transformers")
    return (*needed, "peft") if model.manifest.method == "lora" else needed
