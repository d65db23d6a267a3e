"""The API's schema, made from the code once a process, and the page that tells people what it says."""

import json
from functools import lru_cache
from itertools import groupby
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import get_language, gettext
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator

from iss_billing.problems import MEDIA_TYPE, STATUSES, TITLES

TAGS = ("Account", "Catalogue", "Orders", "Packs", "Bills", "Usage", "Entitlements", "Webhooks")
"""The order in which the page tells of them; what else there is comes last."""
METHODS = ("get", "post", "put", "patch", "delete")


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return found


@require_safe
def schema(request: HttpRequest) -> HttpResponse:
    """The document, for programs."""
    return JsonResponse(document(), json_dumps_params={"ensure_ascii": False})


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The document, for people: no script is needed to read it."""
    context = {
        "groups": _groups(get_language()),
        "shapes": [_shape(name, described) for name, described in document()["components"]["schemas"].items()],
        "codes": sorted((status, code, _translated(TITLES[code])) for code, status in STATUSES.items()),
        "base": request.build_absolute_uri("/api/v1/"),
    }
    return render(request, "reference.html", context)


def texts() -> list[str]:
    """What the document says in words and the page translates; `make messages` collects them."""
    operations = [one for methods in document()["paths"].values() for one in methods.values()]
    found = [text for one in operations for text in (one.get("summary", ""), _more(one))]
    found += [field.get("description", "") for one in operations for field in one.get("parameters", [])]
    found += [described.get("description", "") for described in document()["components"]["schemas"].values()]
    return [text for text in dict.fromkeys([*found, *TITLES.values()]) if text]


@lru_cache(maxsize=4)
def _groups(language: str | None) -> list[tuple[str, list[dict[str, Any]]]]:
    """The operations by tag, in the active language."""
    operations = [
        _operation(path, method, described)
        for path, methods in document()["paths"].items()
        for method, described in methods.items()
    ]
    order = {tag: place for place, tag in enumerate(TAGS)}
    operations.sort(key=lambda one: (order.get(one["tag"], len(TAGS)), one["tag"], one["path"], one["place"]))
    return [(tag, list(rows)) for tag, rows in groupby(operations, key=lambda one: str(one["tag"]))]


def _operation(path: str, method: str, described: dict[str, Any]) -> dict[str, Any]:
    security = [name for one in described.get("security", []) for name in one]
    problems = [
        (status, code, _translated(TITLES[code]))
        for status, response in described["responses"].items()
        for code in _codes(response.get("content", {}).get(MEDIA_TYPE, {}))
    ]
    return {
        "id": described["operationId"],
        "tag": described["tags"][0],
        "place": METHODS.index(method),
        "method": method.upper(),
        "path": path.removeprefix("/api/v1/"),
        "summary": _translated(described.get("summary", described["operationId"])),
        "description": _translated(_more(described)),
        "who": "customer" if "cookieAuth" in security else "platform" if security else "anyone",
        "parameters": [_parameter(one) for one in described.get("parameters", [])],
        "requests": [_content(kind, one) for kind, one in described.get("requestBody", {}).get("content", {}).items()],
        "answers": [
            (status, _content(kind, one))
            for status, response in described["responses"].items()
            for kind, one in response.get("content", {}).items()
            if kind != MEDIA_TYPE
        ],
        "problems": problems,
    }


def _translated(text: str) -> str:
    return gettext(text) if text else ""  # of an empty text gettext tells the catalogue's header


def _more(described: dict[str, Any]) -> str:
    """What the description says beyond the summary."""
    text = str(described.get("description", ""))
    return "" if text.rstrip(".").lower() in described.get("summary", "").lower() else text


def _codes(content: dict[str, Any]) -> list[str]:
    return [example["value"]["code"] for example in content.get("examples", {}).values()]


def _parameter(described: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": described["name"],
        "where": described["in"],
        "required": described.get("required", False),
        "type": _type(described["schema"]),
        "description": _translated(described.get("description", "")),
    }


def _content(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    examples = [json.dumps(one["value"], indent=2, ensure_ascii=False) for one in content.get("examples", {}).values()]
    return {"kind": kind, "type": _type(content["schema"]), "shape": _name(content["schema"]), "examples": examples[:1]}


def _shape(name: str, described: dict[str, Any]) -> dict[str, Any]:
    required = described.get("required", [])
    return {
        "name": name,
        "description": _translated(described.get("description", "")),
        "fields": [
            {"name": field, "type": _type(one), "shape": _name(one), "optional": field not in required}
            for field, one in described.get("properties", {}).items()
        ],
    }


def _name(described: dict[str, Any]) -> str:
    """The shape that a schema names, itself, in a list or in a page of a list."""
    parts = [described, described.get("items", {}), *described.get("anyOf", [])]
    parts.append(described.get("properties", {}).get("results", {}).get("items", {}))
    return next((str(part["$ref"]).rpartition("/")[2] for part in parts if "$ref" in part), "")


def _type(described: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in described:
        return _name(described)
    if "anyOf" in described:
        return " or ".join(_type(one) for one in described["anyOf"])
    if "enum" in described:
        return " | ".join(json.dumps(one) for one in described["enum"])
    if "const" in described:
        return json.dumps(described["const"])
    kind = described.get("type", "object")
    if kind == "array":
        return f"list of {_type(described['items'])}"
    if kind == "object":
        return f"page of {_name(described)}" if _name(described) else "object"
    return " ".join(filter(None, [kind, described.get("format"), _bounds(described)]))


def _bounds(described: dict[str, Any]) -> str:
    low = described.get("minimum", described.get("minLength"))
    high = described.get("maximum", described.get("maxLength"))
    if low is None and high is None:
        return ""
    unit = " characters" if "maxLength" in described or "minLength" in described else ""
    return f"{low if low is not None else 0:,}-{high:,}{unit}" if high is not None else f"≥ {low:,}"
