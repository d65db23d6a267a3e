#!/usr/bin/env python
"""Django's command line."""

import os
import sys


def main() -> None:
    """Run a command, with the embedded servers up where those are used."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "iss_billing.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit("Django is not installed here: `make run` makes the environment; then .venv/bin/python manage.py …")
    from django.core.exceptions import ImproperlyConfigured

    from iss_billing.embedded import ServerError

    try:
        from iss_billing.servers import hold

        if sys.argv[1:] and sys.argv[1] not in ("help", "--help", "-h", "--version", "makemessages", "compilemessages"):
            hold()
        execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, ServerError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
