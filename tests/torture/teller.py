"""Runs management commands that it reads from its standard input, one JSON list a line; answers with their outcome.

One process for many, because each command of its own would spend its second on starting Python.
"""

import io
import json
import sys
from typing import Any

import django
from django.core.management import CommandError, call_command


def main() -> None:
    """Answer until the input ends."""
    django.setup()
    from django.db import DatabaseError, InterfaceError, OperationalError, connection

    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        connection.close()  # each command has its own connection
        out = io.StringIO()
        answer: dict[str, Any]
        try:
            call_command(*json.loads(line), "--json", stdout=out)
            answer = {"code": 0, "answer": json.loads(out.getvalue())}
        except CommandError as error:
            # a command that says in its own words that the database went is to be tried again as well
            away = isinstance(error.__cause__, OperationalError | InterfaceError)
            answer = {"code": None if away else error.returncode, "error": str(error)}
        except (DatabaseError, InterfaceError) as error:
            answer = {"code": None, "error": str(error)}  # the database is away: to be tried again
        print(json.dumps(answer), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
