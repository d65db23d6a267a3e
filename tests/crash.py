"""A web process that dies after the work is committed and before anybody hears of it."""

import os
import signal
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


class KillAfterCommit:
    """Middleware: a request with the header `X-Crash` kills its process once the view is done."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The response, unless the process is to die."""
        response = self.get_response(request)
        if "X-Crash" in request.headers:
            os.kill(os.getpid(), signal.SIGKILL)
        return response
