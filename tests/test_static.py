"""Static files as production serves them: named by their content, compressed, none missing."""

import json
import re
from pathlib import Path

from tests.conftest import ROOT
from tests.test_settings import PRODUCTION, settings_say


def test_static_files_are_collected_hashed_and_compressed(tmp_path: Path) -> None:
    code = (
        "import brotli; best = brotli.compress\n"
        "brotli.compress = lambda data, quality=0: best(data, quality=4)\n"  # the best takes ten times as long
        f"settings.STATIC_ROOT = {str(tmp_path)!r}\nimport django; django.setup()\n"
        "from django.core.management import call_command\ncall_command('collectstatic', interactive=False, verbosity=0)"
    )
    done = settings_say(code, **PRODUCTION)
    assert done.returncode == 0, done.stderr
    assert not done.stderr.strip(), done.stderr
    paths: dict[str, str] = json.loads((tmp_path / "staticfiles.json").read_text())["paths"]
    for plain, hashed in paths.items():
        assert re.search(r"\.[0-9a-f]{12}(\.|$)", hashed), plain
        assert (tmp_path / hashed).is_file()
    for name in ("console/console.css", "vendor/bootstrap/bootstrap.min.css", "admin/css/base.css"):
        for kind in ("gz", "br"):
            assert (tmp_path / f"{paths[name]}.{kind}").is_file(), (name, kind)
    used = {
        name
        for template in (ROOT / "templates").rglob("*.html")
        for name in re.findall(r"\{% static ['\"]([^'\"]+)['\"] %\}", template.read_text())
    }
    assert len(used) > 10
    assert not used - paths.keys(), "a template that names a file which is not there fails in production"
