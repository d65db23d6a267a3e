"""API edges of entitlements: may the platform serve an account."""

from datetime import datetime
from typing import Any

from django.http import Http404
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.auth import IsPlatform
from accounts.models import Account
from accounts.pagination import paged
from accounts.standing import Standing
from iss_billing.days import parse_moment
from iss_billing.problems import invalid
from packs.models import HOME_REGION
from settlement import api_schema
from settlement.entitlements import changed_since, entitlements, unknown, with_standing
from settlement.shapes import entitlement_shape


class EntitlementView(APIView):
    """Whether one account may be served."""

    permission_classes = (IsPlatform,)

    @api_schema.GET_ENTITLEMENT
    def get(self, request: Request, account_id: str) -> Response:
        """Now, by standing; with what its packs have left for `?item=` in `?region=`."""
        now = timezone.now()
        item, region = request.query_params.get("item"), request.query_params.get("region")
        if (item is not None or region is not None) and (wrong := unknown(now, item, region)):
            raise invalid({name: [f"there is no such {name}"] for name in wrong})
        known = account_id.isascii() and account_id.isdigit() and len(account_id) < 19
        found = entitlements([int(account_id)], now, item=item, region=region or HOME_REGION) if known else []
        if not found:
            raise Http404("there is no such account")
        return Response(entitlement_shape(found[0]))


class EntitlementsView(APIView):
    """Whether accounts may be served."""

    permission_classes = (IsPlatform,)

    @api_schema.GET_ENTITLEMENTS
    def get(self, request: Request) -> Response:
        """Every account, or those of a standing, or those that changed since a moment."""
        now = timezone.now()
        rows = Account.objects.all()
        if (status := request.query_params.get("status")) is not None:
            if status not in list(Standing):
                raise invalid({"status": [f"one of {', '.join(Standing)}"]})
            rows = with_standing(rows, Standing(status), now)
        if (since := request.query_params.get("changed_since")) is not None:
            rows = changed_since(rows, _moment(since), now)

        def show(page: list[Account]) -> list[dict[str, Any]]:
            return [entitlement_shape(one) for one in entitlements([account.pk for account in page], now)]

        return paged(request, rows, ("id",), show)


def _moment(text: str) -> datetime:
    # a "+" that was not percent-encoded arrives as a space
    text = text.replace(" ", "+")
    try:
        if not datetime.fromisoformat(text).tzinfo:
            raise ValueError("a time with its offset is expected, such as 2026-03-05T10:00:00+08:00")
        return parse_moment(text)
    except ValueError as error:
        raise invalid({"changed_since": [str(error)]}) from error
