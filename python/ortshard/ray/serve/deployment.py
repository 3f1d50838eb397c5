"""The app on Ray Serve: one process that has the pipeline, behind Serve's own way in."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from ... import errors
from .. import Pipeline
from .._imports import connect, ray
from . import limits
from ._imports import serve
from .app import build
from .guard import LOOPBACK, digest_of
from .slots import Slots

APP = "ortshard"
#: Requests that Serve lets through beyond those with a place, so that they hear 429 and not silence.
_SPARE = 1000


@dataclass(frozen=True)
class Service:
    """What is served, and to whom."""

    #: A folder, or a name on the hub.
    model: str
    #: What clients call it; None: its own name, without folders.
    name: str | None = None
    #: Requests that wait while as many as the pipeline runs at once are running.
    queue: int = limits.QUEUE
    #: The most bytes of a request.
    body: int = limits.BODY
    #: The digest of the API key; None: whoever can connect may ask.
    key: bytes | None = None
    #: Whether only programs of this machine can connect.
    is_local: bool = True
    #: The pipeline's options.
    pipeline: Mapping[str, Any] = field(default_factory=dict)

    @property
    def called(self) -> str:
        """What clients call the model."""
        return self.name or (os.path.basename(os.path.abspath(self.model)) if os.path.isdir(self.model) else self.model)


class _Front:
    """The app that this process serves, once there is one. Serve makes copies of it before."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _apps[0](scope, receive, send)


_apps: list[ASGIApp] = []


class Server:
    """What Serve starts: a pipeline and the app over it."""

    async def __init__(self, service: Service) -> None:  # type: ignore[misc]
        options: dict[str, Any] = {"context": 4096, "requests": 8, "replicas": 1, **service.pipeline}
        self.pipeline = await asyncio.to_thread(_pipeline, service.model, options)
        slots = Slots(options["requests"] * options["replicas"], service.queue)
        # Against pages that were made to lead to this machine a key does as well.
        hosts = LOOPBACK if service.is_local and service.key is None else None
        app = build(
            self.pipeline,
            service.called,
            context=options["context"],
            slots=slots,
            body=service.body,
            key=service.key,
            hosts=hosts,
        )
        _apps[:] = [app]

    async def check_health(self) -> None:
        """Where the pipeline goes on no more, Serve starts another."""
        if self.pipeline.failure is not None:
            raise self.pipeline.failure


def _pipeline(model: str, options: Mapping[str, Any]) -> Pipeline:
    pipeline = Pipeline(model, **options)
    try:
        # Every request begins with these.
        dict(pipeline.published_sampling)
    except errors.Unsupported:
        pipeline.close()
        raise
    return pipeline


def application(service: Service) -> Any:
    """The app for `serve.run()`."""
    requests = service.pipeline.get("requests", 8) * service.pipeline.get("replicas", 1)
    made = serve.deployment(
        name=APP,
        num_replicas=1,
        max_ongoing_requests=requests + service.queue + _SPARE,
        # The stages reserve what computes.
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=10,
        health_check_timeout_s=120,
        graceful_shutdown_timeout_s=5,
    )(serve.ingress(_Front())(Server))
    return made.bind(service)


def start(
    model: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    name: str | None = None,
    api_key: str | None = None,
    queue: int = limits.QUEUE,
    body: int = limits.BODY,
    address: str | None = None,
    **pipeline: Any,
) -> str:
    """Starts the service, and gives its address once it answers. Options that are not named here are the pipeline's.

    `host` and `port`: where the head of the cluster listens: loopback, unless it is told otherwise. `api_key`: what clients have to know; None: nothing.
    `queue`: requests that may wait. `body`: the most bytes of a request. `address`: that of a cluster; None: the one that Ray is
    connected to, or this machine alone.
    """
    if not ray.is_initialized():
        try:
            connect(address or "local")
        except Exception as error:
            # Ray raises whatever it comes to.
            raise errors.InvalidState(f"Ray does not start: {error}") from error
    if serve.status().proxies:
        raise errors.InvalidState(
            "Ray Serve runs on this cluster already, and listens where it was told to: end it with serve.shutdown(), or give "
            "ortshard.ray.serve.application() to serve.run()"
        )
    folder = os.path.abspath(model) if os.path.isdir(model) else os.fspath(model)
    key = digest_of(api_key) if api_key else None
    service = Service(folder, name, queue, body, key, _is_loopback(host), pipeline)
    serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port})
    try:
        serve.run(application(service), name=APP, route_prefix="/")
    except BaseException as error:
        told = serve.status().applications.get(APP)
        stop()
        if isinstance(error, RuntimeError) and told is not None:
            # Serve says only that it has failed, and keeps why.
            raise errors.InvalidState(f"the pipeline does not start: {told.message.strip()}") from error
        raise
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def stop() -> None:
    """Ends the service and its pipeline."""
    serve.shutdown()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
