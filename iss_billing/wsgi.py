"""The WSGI application: `gunicorn -c python:iss_billing.serving iss_billing.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

from iss_billing.servers import hold

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "iss_billing.settings")
application = get_wsgi_application()
hold()
