"""The Chinese texts are complete, and compiled from what is written."""

import ast
import gettext
import re

from babel.messages.pofile import read_po

from iss_billing.reference import texts
from tests.conftest import ROOT

TEXT = {"_", "gettext", "gettext_lazy", "ngettext", "npgettext", "pgettext"}
FOLDER = ROOT / "locale" / "zh_Hans" / "LC_MESSAGES"


def test_every_text_is_translated_and_keeps_its_parameters() -> None:
    with (FOLDER / "django.po").open("rb") as file:
        catalog = read_po(file, locale="zh_Hans")
    assert len(catalog) > 400
    for message in catalog:
        ids = [message.id] if isinstance(message.id, str) else list(message.id)
        texts = [message.string] if isinstance(message.string, str) else list(message.string or ())
        if not ids[0]:
            continue
        assert all(texts), message.id
        assert not message.fuzzy, message.id
        for text in texts:
            assert set(re.findall(r"%\(\w+\)s", text)) == set(re.findall(r"%\(\w+\)s", ids[-1])), message.id


def test_the_compiled_texts_are_the_written_ones() -> None:
    with (FOLDER / "django.po").open("rb") as file:
        written = read_po(file, locale="zh_Hans")
    with (FOLDER / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for message in written:
        if isinstance(message.id, str) and message.id:
            found = compiled.pgettext(message.context, message.id) if message.context else compiled.gettext(message.id)
            assert found == message.string, message.id


def test_no_text_hides_from_the_collector() -> None:
    """`make messages` does not look into f-strings: what stands there alone would be lost."""
    for app in ("accounts", "iss_billing", "packs", "settlement"):
        for path in (ROOT / app).rglob("*.py"):
            strings = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.JoinedStr))
            calls = [node for string in strings for node in ast.walk(string) if isinstance(node, ast.Call)]
            assert not {call.func.id for call in calls if isinstance(call.func, ast.Name)} & TEXT, path


def test_what_the_api_reference_says_is_translated() -> None:
    with (FOLDER / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    assert [text for text in texts() if compiled.gettext(text) == text] == []
