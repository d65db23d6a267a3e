"""The bench's world with some accounts that people sign in to."""

import json
import sys

PEOPLE = 40


def people() -> None:
    """Give some accounts a login and a key, and make a platform key and a staff login; their secrets as JSON."""
    from django.conf import settings
    from django.test import Client
    from django.utils import timezone

    from accounts.keys import make_key
    from accounts.models import Account, User

    def signed_in(user: User) -> str:
        client = Client()
        client.force_login(user, "accounts.login_backend.LoginBackend")
        name = settings.SESSION_COOKIE_NAME
        return f"{name}={client.cookies[name].value}"

    now = timezone.now()
    ids = list(Account.objects.order_by("pk").values_list("pk", flat=True))
    customers = []
    for account in Account.objects.filter(pk__in=ids[:: max(len(ids) // PEOPLE, 1)]):
        user = User.objects.create_user(f"load-{account.pk}@example.com", "not used to sign in")
        account.user = user
        account.save(update_fields=["user"])
        customers.append({"cookie": signed_in(user), "key": make_key(account_id=account.pk, name="load", now=now)[1]})
    staff = User.objects.create_superuser("staff@example.com", "not used to sign in")
    answer = {
        "first": ids[0],
        "last": ids[-1],
        "customers": customers,
        "platform": make_key(account_id=None, name="load", now=now)[1],
        "staff": signed_in(staff),
    }
    sys.stdout.write(json.dumps(answer))
