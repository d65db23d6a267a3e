"""Gunicorn's settings."""

import os

bind = f"{os.environ.get('BIND', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = 2
threads = 4
timeout = 60
graceful_timeout = 15
accesslog = None
control_socket_disable = True
# X-Forwarded-Proto is believed from these proxies only
forwarded_allow_ips = os.environ.get("TRUSTED_PROXIES", "")
