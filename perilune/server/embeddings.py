"""POST /v1/embeddings: texts as vectors, in OpenAI's shape."""

from __future__ import annotations

import json

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from perilune.api.embeddings import Embedded, embedding_options, embeddings_json
from perilune.api.model import Model
from perilune.server.answers import whole
from perilune.server.guard import no_such_model, read_json
from perilune.server.running import Desk


class Embeddings:
    """Answers requests with one model, under the name it is served by."""

    def __init__(self, model: Model, name: str, desk: Desk):
        self.model, self.name, self.desk = model, name, desk

    async def __call__(self, request: Request) -> Response:
        body = await read_json(request)
        named = body.get("model", self.name)
        if named != self.name:
            return no_such_model(str(named), self.name)
        options = embedding_options(body)
        running = self.desk.take(self.model.embed_stream, [options], request.state.owner)
        (made,) = await whole(running, request)
        assert isinstance(made, Embedded)

        def told() -> bytes:  # of thousands of vectors: others are not kept waiting
            return json.dumps(embeddings_json(made, body, self.name)).encode()

        return Response(await run_in_threadpool(told), media_type="application/json")
