"""The product's addresses, and below them that of a view that does nothing."""

from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.auth import IsPlatform
from iss_billing import urls


class EmptyView(APIView):
    """Authenticated, permitted, empty."""

    permission_classes = (IsPlatform,)

    def get(self, request: Request) -> Response:
        """`{}`."""
        return Response({})


urlpatterns = [path("api/v1/empty/", EmptyView.as_view()), *urls.urlpatterns]
