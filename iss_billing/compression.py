"""Pages are sent compressed, whatever stands before the web processes: a page of figures is a fifth of its size then.

Static files are compressed when they are collected. What programs read, and files that are streamed, are left to the
proxy. Against guessing a page's secrets by its length (BREACH) Django adds a random number of bytes to each answer, and
the CSRF token, the one secret in a page that stays, is masked anew each time.
"""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware


class Compression(GZipMiddleware):
    """Django's, for pages."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """The answer, compressed if it is a page and the browser takes it so."""
        if response.streaming or not response.get("Content-Type", "").startswith("text/html"):
            return response
        return super().process_response(request, response)
