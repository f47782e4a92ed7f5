"""A STAC API on localhost: stac-fastapi, with a folder of item files for a database.

    python stac_server.py FOLDER PORT

The routes, models, validation and conformance are stac-fastapi's; CQL2 is evaluated by the cql2 package. Here is only
what a backend adds: which items match, and pages by token.
"""

from __future__ import annotations

import json
import operator
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_OPERATORS = {
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "in": lambda value, options: value in options,
    "startsWith": lambda value, start: str(value).startswith(start),
}


def make_app(folder: Path) -> Any:
    from stac_fastapi.api.app import StacApi
    from stac_fastapi.api.models import create_get_request_model, create_post_request_model
    from stac_fastapi.extensions.filter import SearchFilterExtension
    from stac_fastapi.extensions.pagination import TokenPaginationExtension
    from stac_fastapi.extensions.query import QueryExtension
    from stac_fastapi.types.config import ApiSettings

    extensions = [QueryExtension(), SearchFilterExtension(), TokenPaginationExtension()]
    post = create_post_request_model(extensions)
    client = make_client(folder)()
    return StacApi(
        settings=ApiSettings(enable_response_models=False),
        client=client,
        extensions=extensions,
        search_get_request_model=create_get_request_model(extensions),
        search_post_request_model=post,
    ).app


def make_client(folder: Path) -> Any:  # noqa: C901  # the methods of one class
    from stac_fastapi.types.core import BaseCoreClient
    from stac_fastapi.types.errors import NotFoundError

    class FolderClient(BaseCoreClient):
        def _items(self) -> list[dict[str, Any]]:
            return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]

        def all_collections(self, **kwargs: Any) -> Any:
            names = sorted({item["collection"] for item in self._items()})
            return {"collections": [collection(name) for name in names], "links": []}

        def get_collection(self, collection_id: str, **kwargs: Any) -> Any:
            if collection_id not in {item["collection"] for item in self._items()}:
                raise NotFoundError(f"no collection {collection_id}")
            return collection(collection_id)

        def get_item(self, item_id: str, collection_id: str, **kwargs: Any) -> Any:
            for item in self._items():
                if (item["id"], item["collection"]) == (item_id, collection_id):
                    return item
            raise NotFoundError(f"no item {item_id}")

        def item_collection(self, collection_id: str, **kwargs: Any) -> Any:
            return self._page(kwargs["request"], {"collections": [collection_id]}, kwargs.get("limit"), None)

        def get_search(self, **kwargs: Any) -> Any:
            wanted = {key: kwargs.get(key) for key in ("collections", "ids", "bbox", "datetime")}
            wanted |= {"query": json.loads(kwargs["query"]) if kwargs.get("query") else None}
            wanted["filter"] = kwargs.get("filter_expr")
            return self._page(kwargs["request"], wanted, kwargs.get("limit"), kwargs.get("token"))

        def post_search(self, search_request: Any, **kwargs: Any) -> Any:
            asked = search_request.model_dump(by_alias=True)
            shape = getattr(search_request, "intersects", None)
            asked["intersects"] = None if shape is None else shape.model_dump()
            return self._page(kwargs["request"], asked, asked.get("limit"), asked.get("token"), body=asked)

        def _page(self, request: Any, asked: dict[str, Any], limit: Any, token: Any, body: Any = None) -> Any:
            found = [item for item in self._items() if matches(item, asked)]
            found.sort(key=lambda item: (item["properties"]["datetime"], item["id"]), reverse=True)
            start, size = int(token or 0), int(limit or 10)
            page = {"type": "FeatureCollection", "features": found[start : start + size], "links": []}
            page["numberMatched"] = len(found)
            if start + size < len(found):
                page["links"] = [next_link(request, str(start + size), body)]
            return page

    return FolderClient


def next_link(request: Any, token: str, body: dict[str, Any] | None) -> dict[str, Any]:
    link = {"rel": "next", "type": "application/geo+json", "href": str(request.url.include_query_params(token=token))}
    if body is None:
        return link | {"method": "GET"}
    return link | {"href": str(request.url), "method": "POST", "body": {"token": token}, "merge": True}


def matches(item: dict[str, Any], asked: dict[str, Any]) -> bool:
    import cql2

    listed = (("collections", "collection"), ("ids", "id"))
    if any(asked.get(many) and item[one] not in asked[many] for many, one in listed) or not touches(item, asked):
        return False
    if asked.get("datetime") and not in_range(item["properties"]["datetime"], asked["datetime"]):
        return False
    for name, conditions in (asked.get("query") or {}).items():
        value = item["properties"].get(name)
        if value is None or not all(_OPERATORS[key](value, wanted) for key, wanted in conditions.items()):
            return False
    return not asked.get("filter") or bool(cql2.Expr(asked["filter"]).matches(item))


def touches(item: dict[str, Any], asked: dict[str, Any]) -> bool:
    from shapely.geometry import box, shape

    areas = [box(*asked["bbox"])] if asked.get("bbox") else []
    areas += [shape(asked["intersects"])] if asked.get("intersects") else []
    return all(shape(item["geometry"]).intersects(area) for area in areas)


def in_range(text: str, wanted: Any) -> bool:
    from stac_fastapi.types.rfc3339 import rfc3339_str_to_datetime
    from stac_fastapi.types.rfc3339 import str_to_interval as interval

    if isinstance(wanted, str):
        wanted = interval(wanted)
    instant = rfc3339_str_to_datetime(text)
    if not isinstance(wanted, tuple):
        return bool(instant == wanted)
    first, last = wanted
    return (first is None or instant >= first) and (last is None or instant <= last)


def collection(name: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": name,
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2015-01-01T00:00:00Z", None]]},
        },
        "links": [],
    }


@contextmanager
def running(command: list[str], port: int) -> Iterator[str]:
    """Run a server until the context ends; its root is yielded when it answers."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    root = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise RuntimeError(process.stderr.read().decode()[-2000:])
            try:
                with urllib.request.urlopen(root, timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        yield root
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stderr.close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serve_api(folder: Path) -> Iterator[str]:
    """Serve the items of a folder, which may change meanwhile."""
    port = free_port()
    with running([sys.executable, __file__, str(folder), str(port)], port) as root:
        yield root


@contextmanager
def serve_rustac(*files: Path) -> Iterator[str]:
    """Serve item collections with rustac's server, which knows no query and no filter."""
    port = free_port()
    rustac = Path(sys.executable).with_name("rustac")
    command = [str(rustac), "serve", "--addr", f"127.0.0.1:{port}", "--create-collections", *map(str, files)]
    with running(command, port) as root:
        yield root


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(make_app(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
