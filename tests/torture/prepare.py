"""The database of a round, its accounts and their keys, in one process.

JSON in (commands to run first, when the accounts are opened, name → e-mail address or null), JSON out.
"""

import json
import sys
from datetime import datetime

import django


def main() -> None:
    """Prepare the database of this process."""
    django.setup()
    from django.core.management import call_command

    from accounts.keys import make_key
    from accounts.opening import open_account

    asked = json.load(sys.stdin)
    for name, *arguments in asked["commands"]:
        call_command(name, *arguments, stdout=sys.stderr)
    opened = datetime.fromisoformat(asked["opened"])
    made = {}
    for name, email in asked["accounts"].items():
        account = open_account(name=name, now=opened, email=email)
        made[name] = {"id": account.pk, "key": make_key(account_id=account.pk, name="script", now=opened)[1]}
    platform = make_key(account_id=None, name="edge", now=opened)[1]
    json.dump({"accounts": made, "platform": platform}, sys.stdout)


if __name__ == "__main__":
    main()
