"""Django's settings, read from the process's environment and then from `.env` (README names every variable)."""

from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from iss_billing import embedded, gateways, links, logs, queues, security
from iss_billing.networks import parse_networks

BASE_DIR = Path(__file__).resolve().parent.parent
VAR = BASE_DIR / "var"

env = environ.Env()
env.read_env(BASE_DIR / ".env")

DEBUG: bool = env.bool("DEBUG", default=False)

_required = ["SECRET_KEY"] if DEBUG else ["SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "REDIS_URL", "EMAIL_URL"]
_missing = [name for name in _required if not env.str(name, default="")]
if _missing:
    raise ImproperlyConfigured(
        f"not set: {', '.join(_missing)} (DEBUG is {int(DEBUG)}). Set them, or `make run` for development."
    )

SECRET_KEY: str = env.str("SECRET_KEY")
SECRET_KEY_FALLBACKS: list[str] = [text for text in env.list("SECRET_KEY_FALLBACKS", default=[]) if text]
if not DEBUG:
    security.refuse_weak_secret(SECRET_KEY)
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])
PORT: int = env.int("PORT", default=8000)
SITE_URL: str = security.site_url(env.str("SITE_URL", default=""), ALLOWED_HOSTS, PORT, debug=DEBUG)

INSTALLED_APPS = [
    "iss_billing.desk_app.DeskConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "csp",
    "djmoney",
    "rest_framework",
    "drf_spectacular",
    "accounts",
    "packs",
    "settlement",
]

MIDDLEWARE = [
    "iss_billing.requests.Requests",
    "iss_billing.probes.Probes",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "iss_billing.compression.Compression",
    "csp.middleware.CSPMiddleware",
    "iss_billing.headers.Headers",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "accounts.rate_limits.RateLimits",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "iss_billing.urls"
WSGI_APPLICATION = "iss_billing.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.context.console",
            ]
        },
    }
]

# ── what it runs on ──────────────────────────────────────────────────────────────────────────────────
EMBEDDED_POSTGRES = not env.str("DATABASE_URL", default="")
EMBEDDED_REDIS = not env.str("REDIS_URL", default="")
DATABASES: dict[str, Any] = {
    "default": (embedded.database_settings(VAR) if EMBEDDED_POSTGRES else env.db_url("DATABASE_URL"))
    | {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
}
DATABASES["default"]["OPTIONS"] = links.postgres_options(DATABASES["default"].get("OPTIONS", {}))
if DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql":
    raise ImproperlyConfigured("DATABASE_URL: PostgreSQL only (postgres://user:password@host/name)")

BACKUPS = Path(env.str("BACKUPS", default=str(VAR / "backups")))

REDIS_URL: str = embedded.redis_url(VAR) if EMBEDDED_REDIS else env.str("REDIS_URL")
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}

# ── logins ───────────────────────────────────────────────────────────────────────────────────────────
AUTH_USER_MODEL = "accounts.User"
vars().update(security.logins())
REQUIRE_2FA: bool = env.bool("REQUIRE_2FA", default=False)
OTP_TOTP_ISSUER = "ISS Billing"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "sign-in"

# ── language, time ───────────────────────────────────────────────────────────────────────────────────
LANGUAGE_CODE = "zh-hans"
LANGUAGES = [("zh-hans", _("Chinese")), ("en", _("English"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "Asia/Shanghai"
USE_TZ = True

# ── files ────────────────────────────────────────────────────────────────────────────────────────────
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
_plain, _hashed = (
    "django.contrib.staticfiles.storage.StaticFilesStorage",
    "whitenoise.storage.CompressedManifestStaticFilesStorage",
)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": _plain if DEBUG else _hashed},
}
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = DEBUG
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 2**20 + 1  # a usage batch may have 16 MiB; its view says 413 above that

# ── mail ─────────────────────────────────────────────────────────────────────────────────────────────
if env.str("EMAIL_URL", default=""):
    vars().update(env.email_url("EMAIL_URL"))
else:
    EMAIL_BACKEND = "iss_billing.mail.ConsoleBackend"
DEFAULT_FROM_EMAIL: str = env.str("DEFAULT_FROM_EMAIL", default="ISS Billing <billing@localhost>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL
OPERATORS: list[str] = [address.strip() for address in env.list("OPERATORS", default=[]) if address.strip()]
EMAIL_TIMEOUT = 20

PAYMENTS = gateways.read(env, DEBUG)
FOUR_EYES: bool = env.bool("FOUR_EYES", default=False)  # a price change is published by another than who proposed it

# ── API ──────────────────────────────────────────────────────────────────────────────────────────────
METRICS_TOKEN: str = env.str("METRICS_TOKEN", default="")
API_RATE_LIMITS: bool = env.bool("API_RATE_LIMITS", default=True)
TRUSTED_PROXIES: list[str] = [text.strip() for text in env.list("TRUSTED_PROXIES", default=[]) if text.strip()]
parse_networks("TRUSTED_PROXIES", TRUSTED_PROXIES)
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.auth.KeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.auth.IsCustomer"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["iss_billing.parsers.JSONBody"],
    "EXCEPTION_HANDLER": "iss_billing.problems.handler",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_METADATA_CLASS": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "ISS Billing API",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "POSTPROCESSING_HOOKS": ["iss_billing.openapi.complete"],
}
WEBHOOK_ALLOW_NETS = parse_networks("WEBHOOK_ALLOW_NETS", env.list("WEBHOOK_ALLOW_NETS", default=[]))

# ── what is kept in modules of its own ───────────────────────────────────────────────────────────────
vars().update(security.browser(debug=DEBUG))
vars().update(queues.celery(redis_url=REDIS_URL, time_zone=TIME_ZONE))
LOGGING = logs.logging_settings(debug=DEBUG, form=env.str("LOG_FORMAT", default="line" if DEBUG else "json"))
