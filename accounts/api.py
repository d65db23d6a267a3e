"""API edges of accounts: the account, its billing mode, its ledger."""

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import api_schema
from accounts.auth import IsCustomer, account_of
from accounts.ledger import AccountClosed
from accounts.models import MODES, Account, Transfer
from accounts.modes import InArrears, switch_mode
from accounts.pagination import paged
from accounts.shapes import account_shape, transfer_shape
from iss_billing.problems import Problem, invalid


class AccountView(APIView):
    """The caller's account."""

    permission_classes = (IsCustomer,)

    @api_schema.GET_ACCOUNT
    def get(self, request: Request) -> Response:
        """Balance, standing and billing mode."""
        return Response(account_shape(account_of(request), timezone.now()))


class BillingModeView(APIView):
    """The billing mode from the next 00:00 on."""

    permission_classes = (IsCustomer,)

    @api_schema.PUT_MODE
    def put(self, request: Request) -> Response:
        """Switch, or take a pending switch back by asking for today's mode."""
        mode = request.data.get("mode") if isinstance(request.data, dict) else None
        if mode not in [name for name, _ in MODES]:
            raise invalid({"mode": ["“bandwidth” or “traffic”"]})
        account, now = account_of(request), timezone.now()
        try:
            switch_mode(account_id=account.pk, mode=mode, now=now)
        except InArrears as error:
            raise Problem(403, "account_in_arrears", str(error)) from error
        except AccountClosed as error:
            raise Problem(403, "account_closed", str(error)) from error
        return Response(account_shape(Account.objects.get(pk=account.pk), now))


class LedgerView(APIView):
    """What moved the caller's balance."""

    permission_classes = (IsCustomer,)

    @api_schema.GET_LEDGER
    def get(self, request: Request) -> Response:
        """Newest posting first."""
        rows = Transfer.objects.filter(account=account_of(request), balance_after__isnull=False)
        return paged(request, rows, ("-id",), lambda page: [transfer_shape(transfer) for transfer in page])
