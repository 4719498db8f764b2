"""Service's routes: predictions, maps, the model card, metrics, and the page."""

import json
import time
from importlib.resources import files
from pathlib import Path

import anyio
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from helpers.serve.films import Limits, Refusal, read, receive
from helpers.serve.model import ServedModel

NOTICE = "For teaching and research only, not for clinical use."
_SHAPED = "/v1/models/chest_xrays"  # as TensorFlow Serving has it
_PAGE_MAY = "default-src 'none'; base-uri 'none'; form-action 'none'; connect-src 'self'; " + (
    "img-src blob: data:; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
)


class _Answer(JSONResponse):
    """JSON in ASCII: whatever the name of a file contains can be returned."""

    def render(self, content):
        return json.dumps(content, allow_nan=False).encode("ascii")


def make_app(
    folder: str | Path, limits: Limits | None = None, *, fingerprint: str | None = None
) -> FastAPI:
    """Make the service of a model folder.

    Parameters
    ----------
    folder : path
        A folder as :func:`helpers.export.export_model` writes it.
    limits : Limits, optional
        What the service accepts.
    fingerprint : str, optional
        What :func:`~helpers.export.export_model` returned; another folder is refused.

    Returns
    -------
    fastapi.FastAPI
        An ASGI application, as ``uvicorn.run`` takes it. It has metrics of its own, so that one
        process may have several.

    Raises
    ------
    ValueError
        If the folder is none that was exported, or was changed since.
    """
    model, limits, registry = (
        ServedModel(folder, fingerprint),
        limits or Limits(),
        CollectorRegistry(),
    )
    places = anyio.Semaphore(limits.requests)
    workers, explainer = anyio.CapacityLimiter(limits.workers), anyio.CapacityLimiter(1)
    about = {"model": model.name, "version": model.version, "notice": NOTICE}
    page = files("helpers.serve").joinpath("page.html").read_text("utf-8")
    app = FastAPI(title=model.name, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_middleware(_Observer, registry=registry)
    app.add_exception_handler(Refusal, lambda _, error: _refuse(*error.args))
    app.add_exception_handler(HTTPException, _refuse_route)

    async def answer(request, key, work, limiter=workers):
        """Take the films out of a request, and work on them in a thread."""
        try:
            places.acquire_nowait()
        except anyio.WouldBlock:
            raise Refusal(429, "Expected fewer requests at once. Try again in a second.") from None
        until = time.monotonic() + limits.seconds
        try:
            with anyio.fail_after(limits.seconds):
                upload = await receive(request, model.side, limits)
                return await anyio.to_thread.run_sync(
                    lambda: _Answer(work(*read(upload, key, model.side, limits, until))),
                    limiter=limiter,
                )
        except TimeoutError:
            most = f"{limits.seconds:g} s"
            raise Refusal(408, f"Expected a request that takes at most {most}.") from None
        except ClientDisconnect:
            raise Refusal(400, "Expected a whole request. The connection ended.") from None
        finally:
            places.release()

    @app.get("/")
    def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers={"content-security-policy": _PAGE_MAY})

    @app.get("/health")
    def health() -> Response:
        facts = {"side": model.side, "classes": model.classes, "maps": model.can_explain()}
        return _Answer({"status": "ok"} | about | facts)

    @app.get("/card")
    def card() -> Response:
        return _Answer({"card": model.card} | about)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        def work(films, names):
            return {"predictions": model.judge(films, names)} | about

        return await answer(request, "films", work)

    @app.post("/explain")
    async def explain(request: Request) -> Response:
        if not model.can_explain():
            return _refuse(501, 'Maps need: pip install "federated-chest-xrays[explanation]".')

        def work(films, names):
            try:
                maps = model.explain(films).tolist()
            except ValueError as error:
                raise Refusal(501, f"Maps need another network. {error}") from error
            rows = zip(model.judge(films, names), maps, strict=True)
            said = [row | {"map": map_of_film} for row, map_of_film in rows]
            return {"predictions": said, "method": "grad_cam"} | about

        return await answer(request, "films", work, explainer)

    @app.get(_SHAPED)
    def state() -> Response:
        state = {"version": model.version, "state": "AVAILABLE"}
        state["status"] = {"error_code": "OK", "error_message": ""}
        return _Answer({"model_version_status": [state]})

    @app.post(f"{_SHAPED}:predict")
    async def predict_shaped(request: Request) -> Response:
        def work(films, names):
            return {"predictions": model.predict(films)[:, None].tolist()}

        return await answer(request, "instances", work)

    return app


def _refuse(status, sentence):
    headers = {"retry-after": "1"} if status == 429 else None
    return _Answer({"error": sentence, "notice": NOTICE}, status, headers)


def _refuse_route(request, error):
    sentence = "Expected GET of /, /health, /card, /metrics or " + (
        f"{_SHAPED}, or POST to /predict, /explain or {_SHAPED}:predict."
    )
    return _refuse(error.status_code, sentence)


class _Observer:
    """Count and time every answer, and mark it as not for clinical use."""

    def __init__(self, app, registry):
        self._app = app
        named = {"registry": registry, "namespace": "chest_xrays"}
        self._answers = Counter("answers", "Answers", ["route", "status"], **named)
        self._seconds = Histogram("seconds", "Seconds of a request", ["route"], **named)

    async def __call__(self, scope, receive, send):
        async def mark(message):
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "other")  # few, whatever is asked
                self._answers.labels(route, message["status"]).inc()
                self._seconds.labels(route).observe(time.perf_counter() - start)
                message["headers"] = [*message["headers"], (b"x-notice", NOTICE.encode())]
            await send(message)

        start = time.perf_counter()
        await self._app(scope, receive, mark)
