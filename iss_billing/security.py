"""The settings of browser security and of logins."""

from typing import Any

from csp.constants import NONE, SELF


def browser(*, debug: bool) -> dict[str, Any]:
    """What browsers are told; what needs HTTPS is asked for in production only."""
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
        "SESSION_COOKIE_SECURE": not debug,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "CSRF_COOKIE_SECURE": not debug,
        "CSRF_COOKIE_SAMESITE": "Lax",
    }


def logins() -> dict[str, Any]:
    """What is asked of passwords."""
    validators = ("UserAttributeSimilarity", "MinimumLength", "CommonPassword", "NumericPassword")
    return {
        "AUTH_PASSWORD_VALIDATORS": [
            {"NAME": f"django.contrib.auth.password_validation.{name}Validator"} for name in validators
        ]
    }
