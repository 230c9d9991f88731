"""The program inside an inference service's container: it loads a packed model and answers for its methods.

`service_container.Container` starts it as a process of its own. It loads with the SDK's own packager, as the inference
server of a real service does, and has no ingress of its own: who may call it is the ingress's business. It ends when
its standard input ends, so that it never outlives who started it.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import os
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

LARGEST_BODY = 64 * 2**20
"""No request is larger; a real service's limit is of the same order."""


class BadRequest(Exception):
    """A body that the service cannot read; the message goes back to the client."""


@dataclass(frozen=True)
class Method:
    """One method of the model.

    Attributes:
        run: Takes a data frame and the parameters, gives a data frame.
        inputs: The type of each input column, by name and in the signature's order.
        params: The default of each parameter, by name and in the signature's order.
        casts: What makes a parameter's value of the type that the signature says, by name.
    """

    run: Callable[..., Any]
    inputs: Mapping[str, Any]
    params: Mapping[str, Any]
    casts: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict[str, Callable[[Any], Any]])

    def answer(self, body: Any) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            BadRequest: If the body has none of the three forms, or does not fit the signature.
        """
        indexes, records, given = self._read(body)
        if not records:
            return {"data": []}
        if unknown := set(given) - set(self.params):
            raise BadRequest(f"unknown parameters {sorted(unknown)}; the method takes {sorted(self.params)}")
        params = {name: self._value(name, given.get(name)) for name in self.params}
        found = self._call(records, params)
        return {"data": [[index, row] for index, row in zip(indexes, found, strict=True)]}

    def _read(self, body: Any) -> tuple[list[Any], list[dict[str, Any]], dict[str, Any]]:
        if not isinstance(body, dict):
            raise BadRequest("the body must be a JSON object")
        content = cast("dict[str, Any]", body)
        forms = [name for name in ("dataframe_records", "dataframe_split", "data") if name in content]
        if len(forms) != 1:
            raise BadRequest("the body must have one of 'dataframe_records', 'dataframe_split' and 'data'")
        params: Any = content.get("params") or {}
        if not isinstance(params, dict):
            raise BadRequest("'params' must be a JSON object")
        given = dict(cast("dict[str, Any]", params))
        indexes, records = getattr(self, f"_{forms[0]}")(content[forms[0]], given)
        for record in records:
            if lacking := [name for name in self.inputs if name not in record]:
                raise BadRequest(f"a row lacks {lacking}; the method takes {list(self.inputs)}")
        return indexes, records, given

    def _dataframe_records(self, content: Any, _given: dict[str, Any]) -> tuple[list[Any], list[dict[str, Any]]]:
        rows = _list_of(content, dict, "'dataframe_records' must be a list of objects")
        return list(range(len(rows))), rows

    def _dataframe_split(self, content: Any, _given: dict[str, Any]) -> tuple[list[Any], list[dict[str, Any]]]:
        problem = "'dataframe_split' must have 'columns' and 'data', a list of lists of that length"
        if not isinstance(content, dict):
            raise BadRequest(problem)
        split = cast("dict[str, Any]", content)
        columns = _list_of(split.get("columns"), str, problem)
        rows = _list_of(split.get("data"), list, problem)
        if any(len(row) != len(columns) for row in rows):
            raise BadRequest(problem)
        index: Any = split.get("index") or range(len(rows))
        return list(index), [dict(zip(columns, row, strict=True)) for row in rows]

    def _data(self, content: Any, given: dict[str, Any]) -> tuple[list[Any], list[dict[str, Any]]]:
        rows = _list_of(content, list, "'data' must be a list of lists: the row's number, then its values")
        indexes: list[Any] = []
        records: list[dict[str, Any]] = []
        names, extra = list(self.inputs), list(self.params)
        for row in rows:
            index, *values = row
            if len(values) == 1 and len(names) != 1 and isinstance(values[0], dict):
                record = dict(cast("dict[str, Any]", values[0]))
            elif len(values) in {len(names), len(names) + len(extra)}:
                record = dict(zip([*names, *extra], values, strict=False))
            else:
                raise BadRequest(f"a row has {len(values)} values; the method takes {[*names, *extra]}")
            # In this form the parameters are columns, as SQL calls the method; one call has one value of each.
            for name in extra:
                if name in record:
                    value = record.pop(name)
                    if given.setdefault(name, value) != value:
                        raise BadRequest(f"all rows must have the same value of the parameter '{name}'")
            indexes.append(index)
            records.append(record)
        return indexes, records

    def _value(self, name: str, value: Any) -> Any:
        if value is None:
            return self.params[name]
        try:
            return self.casts[name](value) if name in self.casts else value
        except (TypeError, ValueError) as error:
            raise BadRequest(f"the parameter '{name}' cannot be {value!r}: {error}") from error

    def _call(self, records: Sequence[dict[str, Any]], params: dict[str, Any]) -> list[dict[str, Any]]:
        import pandas  # pyright: ignore[reportMissingTypeStubs]

        frame: Any = pandas.DataFrame([{name: record[name] for name in self.inputs} for record in records])
        try:
            frame = frame.astype(dict(self.inputs))
        except (TypeError, ValueError) as error:
            raise BadRequest(f"the rows do not fit the method's signature: {error}") from error
        found: Any = self.run(frame, **params)
        # None survives only in a column of objects.
        plain: Any = found.astype(object).where(found.notna(), None).replace({float("nan"): None})
        return plain.to_dict("records")


def _list_of(value: Any, kind: type, problem: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadRequest(problem)
    found = cast("list[Any]", value)
    if not all(isinstance(item, kind) for item in found):
        raise BadRequest(problem)
    return found


def load(folder: Path) -> dict[str, Method]:
    """The methods of a packed model, by the name under which they are called over HTTP."""
    from snowflake.ml._internal.platform_capabilities import PlatformCapabilities  # pyright: ignore[reportMissingTypeStubs]
    from snowflake.ml.model._packager import model_packager  # pyright: ignore[reportMissingTypeStubs]

    packager: Any = model_packager.ModelPackager(str(folder))
    # Without a session the capabilities of an account cannot be asked for.
    with PlatformCapabilities.mock_features():
        packager.load(as_custom_model=True)
    methods: dict[str, Method] = {}
    for target, signature in packager.meta.signatures.items():
        function: Any = getattr(packager.model, target)
        run = partial(_wait, function) if inspect.iscoroutinefunction(function) else function
        params: list[Any] = list(getattr(signature, "params", None) or [])
        methods[target.replace("_", "-")] = Method(
            run=run,
            inputs={feature.name: feature.as_dtype() for feature in signature.inputs},
            params={param.name: param.default_value for param in params},
            casts={param.name: param.dtype._numpy_type for param in params if _is_plain(param)},
        )
    return methods


def _is_plain(param: Any) -> bool:
    return getattr(param, "shape", ()) is None and callable(getattr(getattr(param, "dtype", None), "_numpy_type", None))


def _wait(function: Any, *args: Any, **kwargs: Any) -> Any:
    return asyncio.run(function(*args, **kwargs))


def encode(value: Any) -> Any:
    """What numpy and pandas have in a row, as JSON has it."""
    for method in ("item", "tolist", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"{type(value).__name__} is not JSON")


def handler(methods: Mapping[str, Method], workers: int) -> type[BaseHTTPRequestHandler]:
    """The class that answers requests, `workers` of them at a time."""
    turns = threading.BoundedSemaphore(workers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if length > LARGEST_BODY:
                self.close_connection = True
                return self._send(413, {"error": f"the body is larger than {LARGEST_BODY} bytes"})
            text = self.rfile.read(length)
            method = methods.get(self.path.partition("?")[0].strip("/"))
            if method is None:
                return self._send(404, {"error": f"no method {self.path}; there are {sorted(methods)}"})
            try:
                with turns:
                    return self._send(200, method.answer(json.loads(text)))
            except (BadRequest, json.JSONDecodeError, UnicodeDecodeError) as error:
                return self._send(400, {"error": str(error)})
            except Exception as error:
                traceback.print_exc()
                return self._send(500, {"error": f"{type(error).__name__}: {error}"})

        def _send(self, code: int, body: Any) -> None:
            content = json.dumps(body, default=encode).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            print("INFO", format % args, flush=True)

    return Handler


class Server(ThreadingHTTPServer):
    """Answers each request in a thread of its own, and does not wait for them when it ends."""

    daemon_threads = True
    block_on_close = False


def main(argv: Sequence[str] | None = None) -> None:
    """Loads the model, writes the port to the ready file, and answers until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of the packed model, with model.yaml")
    parser.add_argument("--ready", type=Path, required=True, help="file that holds the port once it answers")
    parser.add_argument("--workers", type=int, default=1, help="requests that are answered at a time")
    options = parser.parse_args(argv)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    print(f"INFO loading the model from {options.model.name}", flush=True)
    methods = load(options.model)
    with Server(("127.0.0.1", 0), handler(methods, options.workers)) as server:
        print(f"INFO serving {', '.join('/' + name for name in sorted(methods))}", flush=True)
        draft = options.ready.with_suffix(".draft")
        draft.write_text(str(server.server_address[1]), encoding="ascii")
        draft.replace(options.ready)
        server.serve_forever()


def _end_with_parent() -> None:
    # Not through sys.stdin: its lock would be held while the interpreter ends.
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
