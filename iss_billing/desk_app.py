"""Django's admin app with our site as its default."""

from django.contrib.admin.apps import AdminConfig


class DeskConfig(AdminConfig):
    """The admin."""

    default_site = "iss_billing.desk.Desk"
