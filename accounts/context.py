from django.http import HttpRequest
from typing import Any


def console(request: HttpRequest) -> dict[str, Any]:
    """What every page of the console shows."""
    return {}
