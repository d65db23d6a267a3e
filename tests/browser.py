"""A browser for the tests: an installed Chromium, or playwright's own; as root it is installed by apt.

`python -m tests.browser` (a part of `make test`) sees to it that one runs, or says the one command that helps.
"""

import os
import shutil
import subprocess
import sys

from playwright.sync_api import Browser, Playwright, sync_playwright
from playwright.sync_api import Error as PlaywrightError

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
WITHOUT = (
    # no page of the browser's own about each of ours: its buttons and address bar are such pages, each with a process
    "WebUIReloadButton", "WebUIOmniboxPopup", "WebUIOmniboxFullPopup", "WebUIOmniboxAimPopup",
    # what playwright turns off; of two lists the browser reads the last
    "AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable", "LensOverlay", "MediaRouter", "PaintHolding", "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect", "TcpPortRandomizationWin", "OptimizationHints", "NetworkTimeServiceQuerying",
    "AimEnabled", "PreconnectToSearch",
)  # fmt: skip
ARGUMENTS = [
    "--no-sandbox",  # as root there is none; it only ever sees our own pages
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
    f"--disable-features={','.join(WITHOUT)}",
]
PACKAGES = "chromium fonts-noto-cjk"


def launch(playwright: Playwright) -> Browser:
    """Start the browser: an installed one first, then playwright's own. Raises playwright's Error."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found:
        try:
            return playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        except PlaywrightError as error:
            print(f"{found} does not run ({str(error).splitlines()[0]})", file=sys.stderr)  # noqa: T201
    return playwright.chromium.launch(args=ARGUMENTS)


def runs() -> str | None:
    """None when a browser runs, else why not."""
    with sync_playwright() as playwright:
        try:
            launch(playwright).close()
        except PlaywrightError as error:
            return str(error)
    return None


def _install() -> None:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=False, env=environment)
        subprocess.run(["apt-get", "install", "-y", "-qq", *PACKAGES.split()], check=False, env=environment)
    else:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)


def main() -> int:
    """0 when a browser runs, after installing one if need be."""
    if runs() is None:
        return 0
    print("no browser runs yet: installing one", file=sys.stderr)  # noqa: T201
    _install()
    why = runs()
    if why is None:
        return 0
    command = f"apt-get update && apt-get install -y {PACKAGES}"
    if not shutil.which("apt-get"):
        command = f"{sys.executable} -m playwright install --with-deps chromium"
    print(f"{why}\n\nNo browser runs here, and the tests need one. As root:\n    {command}", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
