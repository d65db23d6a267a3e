"""What the API's schema is made of: shapes as typed structs, problems by their codes, and operations that name both.

Each app's `api_schema.py` declares its shapes and operations; drf-spectacular puts them together.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from msgspec import Meta, Struct

from iss_billing.problems import MEDIA_TYPE, STATUSES, TITLES, body

Id = Annotated[str, Meta(pattern="^[0-9]{1,18}$")]
Day = Annotated[str, Meta(extra_json_schema={"format": "date"})]
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Quantity = Annotated[int, Meta(ge=0)]
Mode = Literal["bandwidth", "traffic"]
StandingName = Literal["active", "arrears", "suspended", "reclaimed"]


class Money(Struct):
    """Money that moves on the ledger: two decimals."""

    amount: Annotated[str, Meta(pattern=r"^-?[0-9]+\.[0-9]{2}$")]
    currency: Literal["CNY"]


class ExactMoney(Struct):
    """Money that is rated: six decimals."""

    amount: Annotated[str, Meta(pattern=r"^-?[0-9]+\.[0-9]{6}$")]
    currency: Literal["CNY"]


class Problem(Struct):
    """An error (RFC 9457). Tell them apart by `code`, which is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: dict[str, list[str]] | msgspec.UnsetType = msgspec.UNSET


F = TypeVar("F", bound=Callable[..., Any])
KEY_ONLY: Any = [{"key": []}]
ALWAYS = ("not_acceptable", "too_many_requests")
WITH_KEY = ("not_authenticated", "wrong_role", *ALWAYS)
LIST = ("invalid",)
WRITE = ("invalid", "unsupported_media_type", "too_large", "csrf_failed")

_shapes: list[type[Struct]] = [Problem]
_extras: dict[str, dict[str, Any]] = {}


def ref(shape: type[Struct]) -> dict[str, Any]:
    """A reference to a shape, which then is in the schema."""
    if shape not in _shapes:
        _shapes.append(shape)
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


def page_of(shape: type[Struct]) -> dict[str, Any]:
    """A page of a list."""
    link = {"type": ["string", "null"], "format": "uri"}
    return {
        "type": "object",
        "properties": {"next": link, "previous": link, "results": {"type": "array", "items": ref(shape)}},
        "required": ["next", "previous", "results"],
    }


def page_example(*rows: Any) -> dict[str, Any]:
    """An example of a page, the only one."""
    return {"next": None, "previous": None, "results": list(rows)}


def extra_member(code: str, name: str, schema: dict[str, Any], example: Any) -> None:
    """What problems of a code carry beside the standard members."""
    _extras[code] = {"name": name, "schema": schema, "example": example}


def parameter(name: str, description: str, schema: Mapping[str, Any], **more: Any) -> OpenApiParameter:
    """A parameter, in the query unless said otherwise."""
    return OpenApiParameter(name, dict(schema), description=description, **more)


def path_id(name: str = "id") -> OpenApiParameter:
    """An id in the path."""
    return parameter(name, "An id, as answers show it.", ID_SCHEMA, location=OpenApiParameter.PATH)


ID_SCHEMA = {"type": "string", "pattern": "^[0-9]{1,18}$"}
DAY_SCHEMA = {"type": "string", "format": "date"}
PAGES = [
    parameter(
        "cursor", "Where the page begins: take it from `next` and `previous`.", {"type": "string", "format": "cursor"}
    ),
    parameter("page_size", "Rows on a page.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
]
DAYS = [
    parameter("from", "The first billing day, inclusive.", DAY_SCHEMA),
    parameter("to", "The last billing day, inclusive.", DAY_SCHEMA),
]


def operation(
    name: str,
    *,
    tag: str,
    summary: str,
    answers: Mapping[int, tuple[dict[str, Any], Any] | None],
    problems: Iterable[str] = (),
    parameters: Iterable[OpenApiParameter] = (),
    request: Mapping[str, tuple[dict[str, Any], Any]] | None = None,
    public: bool = False,
    platform: bool = False,
) -> Callable[[F], F]:
    """A decorator that describes a method of a view.

    `answers` and `request` give a schema and an example, by status and by media type; `problems` the codes beside
    those that every call has. An answer of None has no body. A `public` call needs no key, one of the `platform`
    a platform key.
    """
    responses: dict[Any, Any] = {
        (status, "application/json"): OpenApiResponse(answer[0], "", [_example("Example", answer[1], status)])
        for status, answer in answers.items()
        if answer
    }
    responses |= {
        status: OpenApiResponse(description="Nothing to say") for status, answer in answers.items() if not answer
    }
    always = ALWAYS if public else WITH_KEY if platform else (*WITH_KEY, "account_closed")
    for status, codes in _by_status([*always, *problems]).items():
        responses[status, MEDIA_TYPE] = _problems(status, codes)
    examples = [_example("Request", example, None, kind) for kind, (_, example) in (request or {}).items()]
    described: Callable[[F], F] = extend_schema(
        operation_id=name,
        tags=[tag],
        summary=summary,
        parameters=list(parameters),
        request={kind: schema for kind, (schema, _) in request.items()} if request else None,
        responses=responses,
        examples=examples,
        auth=[] if public else KEY_ONLY if platform else None,
    )
    return described


def _by_status(codes: Iterable[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for code in dict.fromkeys(codes):
        found[STATUSES[code]].append(code)
    return dict(sorted(found.items()))


def _problems(status: int, codes: list[str]) -> OpenApiResponse:
    members: dict[str, Any] = {"code": {"enum": codes}, "status": {"const": status}}
    examples = []
    for code in codes:
        more: dict[str, Any] = {"errors": {"field": ["what is wrong with it"]}} if code == "invalid" else {}
        if extra := _extras.get(code):
            members[extra["name"]] = extra["schema"]
            more |= {extra["name"]: extra["example"]}
        examples.append(_example(code, body(status, code, TITLES[code].lower(), **more), status, MEDIA_TYPE))
    schema = {"allOf": [ref(Problem), {"type": "object", "properties": members}]}
    return OpenApiResponse(schema, "; ".join(TITLES[code] for code in codes), examples)


def _example(name: str, value: Any, status: int | None, media_type: str = "application/json") -> OpenApiExample:
    return OpenApiExample(
        name,
        value,
        media_type=media_type,
        request_only=status is None,
        response_only=status is not None,
        status_codes=[str(status)] if status else None,
    )


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself
    """How the schema tells of keys."""

    target_class = "accounts.auth.KeyAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """`Authorization: Bearer KEY`."""
        return {"type": "http", "scheme": "bearer", "description": "The key of an account, or of the platform."}


HEADERS = {
    "RateLimit-Policy": {
        "description": "Requests `q` that are allowed in `w` seconds.",
        "schema": {"type": "string"},
        "example": '"customer";q=1200;w=60',
    },
    "RateLimit": {
        "description": "Requests `r` that are left for `t` seconds.",
        "schema": {"type": "string"},
        "example": '"customer";r=1199;t=60',
    },
}
RETRY_AFTER = {"description": "Seconds to wait.", "schema": {"type": "string"}, "example": "17"}


def complete(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's last hook: the shapes themselves, and the headers that every answer has."""
    _refs, shapes = msgspec.json.schema_components(_shapes, ref_template="#/components/schemas/{name}")
    result["components"]["schemas"] = dict(sorted(shapes.items()))
    result["components"]["headers"] = HEADERS | {"Retry-After": RETRY_AFTER}
    for methods in result["paths"].values():
        for described in methods.values():
            if "requestBody" in described:
                described["requestBody"]["required"] = True
            for status, response in described["responses"].items():
                names = [*HEADERS, "Retry-After"] if status == "429" else [*HEADERS]
                response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return result
