"""The settings of browser security and of logins."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

SHORTEST_SECRET: Final = 50
FEWEST_CHARACTERS: Final = 5
"""Different ones in a secret; both as `check --deploy` has them."""


def refuse_weak_secret(secret: str) -> None:
    """Refuse a SECRET_KEY that can be guessed: it signs sessions and seals webhook secrets."""
    if len(secret) < SHORTEST_SECRET or len(set(secret)) < FEWEST_CHARACTERS or secret.startswith("django-insecure-"):
        raise ImproperlyConfigured(
            f"SECRET_KEY is weak: {SHORTEST_SECRET} characters or more, at random; for example the output of "
            "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'"
        )


def site_url(given: str, hosts: Sequence[str], port: int, *, debug: bool) -> str:
    """Where mails and the payment gateway find the site: as given, else the one host that production answers to.

    Raises ImproperlyConfigured where nobody can know: a mail must not lead nowhere.
    """
    if given:
        return given.rstrip("/")
    if debug:
        return f"http://localhost:{port}"
    if not hosts or hosts[0].startswith((".", "*")):
        raise ImproperlyConfigured("not set: SITE_URL (https://…): ALLOWED_HOSTS begins with no host's name.")
    return f"https://{hosts[0]}"


def browser(*, debug: bool) -> dict[str, Any]:
    """What browsers are told; what needs HTTPS is asked for in production only."""
    # a cookie of this prefix is taken over HTTPS only, from this host and no neighbour of it
    prefix = "" if debug else "__Host-"
    return {
        "CONTENT_SECURITY_POLICY": {
            "DIRECTIVES": {
                "default-src": [NONE],
                "script-src": [SELF],
                "style-src": [SELF],
                "font-src": [SELF],
                "img-src": [SELF, "data:"],  # Bootstrap's form icons
                "connect-src": [SELF],
                "form-action": [SELF],
                "base-uri": [NONE],
                "frame-ancestors": [NONE],
            }
        },
        "X_FRAME_OPTIONS": "DENY",
        "SECURE_REFERRER_POLICY": "same-origin",
        "SECURE_SSL_REDIRECT": not debug,
        "SECURE_HSTS_SECONDS": 0 if debug else 365 * 24 * 3600,
        "SECURE_HSTS_INCLUDE_SUBDOMAINS": not debug,
        # preloading is decided for a whole domain, by who owns it
        "SILENCED_SYSTEM_CHECKS": ["security.W021"],
        "SESSION_COOKIE_NAME": f"{prefix}sessionid",
        "SESSION_COOKIE_SECURE": not debug,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_AGE": 7 * 24 * 3600,
        "CSRF_COOKIE_NAME": f"{prefix}csrftoken",
        "CSRF_COOKIE_SECURE": not debug,
        "CSRF_COOKIE_SAMESITE": "Lax",
        "CSRF_COOKIE_HTTPONLY": True,  # forms carry the token; no script asks for the cookie
    }


def logins() -> dict[str, Any]:
    """What is asked of passwords, how they are kept, and how often one may be guessed."""
    djangos = "django.contrib.auth.password_validation"
    validators: dict[str, dict[str, Any]] = {
        f"{djangos}.UserAttributeSimilarityValidator": {"user_attributes": ["email"]},
        "iss_billing.passwords.LongEnough": {"min_length": 10},
        f"{djangos}.CommonPasswordValidator": {},
        f"{djangos}.NumericPasswordValidator": {},
    }
    return {
        "AUTH_PASSWORD_VALIDATORS": [{"NAME": name, "OPTIONS": options} for name, options in validators.items()],
        "PASSWORD_HASHERS": [
            "iss_billing.passwords.Argon2",
            "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        ],
        "AUTHENTICATION_BACKENDS": [
            "axes.backends.AxesStandaloneBackend",
            "accounts.login_backend.LoginBackend",
        ],
        # a login from one address, so that nobody locks another out; kept in the database, for Redis may be gone
        "AXES_LOCKOUT_PARAMETERS": [["username", "ip_address"]],
        "AXES_FAILURE_LIMIT": 5,
        "AXES_COOLOFF_TIME": timedelta(minutes=15),
        "AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT": False,
        "AXES_RESET_ON_SUCCESS": True,
        "AXES_USERNAME_FORM_FIELD": "username",
        "AXES_USERNAME_CALLABLE": "iss_billing.passwords.login_name",
        "AXES_CLIENT_IP_CALLABLE": "iss_billing.proxies.client_address",
        "AXES_LOCKOUT_CALLABLE": "accounts.rate_limits.locked_out",
        "AXES_SENSITIVE_PARAMETERS": ["username", "ip_address", "csrfmiddlewaretoken"],
        "AXES_DISABLE_ACCESS_LOG": True,
        "AXES_ENABLE_ADMIN": False,
        "AXES_VERBOSE": False,
    }
