"""What a notice says, in the active language: the same words in the mail and in the console."""

import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from accounts.models import Notice
from iss_billing import formats
from iss_billing.days import SHANGHAI


def text_of(notice: Notice) -> tuple[str, str]:
    """Subject and body."""
    if notice.kind in PLAIN:
        return PLAIN[notice.kind](notice.data)
    words = {
        "balance": notice.data["balance"].replace("-", formats.MINUS),
        "suspends": _moment(notice.data["suspends_at"]),
        "reclaims": _moment(notice.data["reclaims_at"]),
    }
    if notice.kind == Notice.Type.ARREARS:
        return _("The account is in arrears"), (
            _(
                "The balance is %(balance)s CNY. The service goes on until %(suspends)s; if the balance is still "
                "below 0 then, it is suspended. A top-up to 0 or more ends the arrears at once."
            )
            % words
        )
    if notice.kind == Notice.Type.SUSPENDED:
        return _("The service is suspended"), (
            _(
                "The balance has been below 0 for 24 hours: the service is suspended since %(suspends)s. A top-up to "
                "0 or more resumes it at once. If it stays below 0, resources are released on %(reclaims)s."
            )
            % words
        )
    if notice.kind == Notice.Type.RECLAIMED:
        return _("The account's resources are released"), (
            _(
                "The balance has been below 0 for 8 days: resources are released since %(reclaims)s. Packs, ledger "
                "and bills are kept; clearing the debt reactivates the account."
            )
            % words
        )
    return _("The service is resumed"), _("The balance is %(balance)s CNY; the service is resumed.") % words


def _pack_exhausted(data: dict[str, Any]) -> tuple[str, str]:
    words = _pack(data)
    return (
        _("%(name)s: a pack is used up") % words,
        _(
            "The usage of %(day)s drew the last units of the pack bought on %(bought)s. What follows is drawn from "
            "the next pack of this type, or charged pay-as-you-go when there is none."
        )
        % words,
    )


def _pack_low(data: dict[str, Any]) -> tuple[str, str]:
    words = _pack(data) | {
        "left": str(formats.remaining(data["remaining"], data["unit"])),
        "total": str(formats.size(data["total"], data["unit"])),
    }
    return (
        _("%(name)s: a pack is running low") % words,
        _(
            "The usage of %(day)s drew the pack bought on %(bought)s down to %(left)s of %(total)s. When it is used "
            "up, the next pack of this type is drawn from, or usage is charged pay-as-you-go when there is none."
        )
        % words,
    )


def _pack(data: dict[str, Any]) -> dict[str, str]:
    # what it covers is said elsewhere: "Kitchen hygiene (chef uniform, …) pack"
    name = data["name_zh"] if formats.chinese() else re.sub(r" \(.*\)", "", data["name_en"])
    return {"name": name, "day": _day(data["day"]), "bought": _day(data["purchased_day"])}


def _endpoint_disabled(data: dict[str, Any]) -> tuple[str, str]:
    words = {"url": data["url"]}
    if data["gone"]:
        why = _("%(url)s answered 410 Gone: it wants no more messages, and none are sent to it.")
    else:
        why = _("%(url)s has taken no message for 3 days: none are sent to it until it is turned on again.")
    return _("A webhook is turned off"), why % words


def _checkout(data: dict[str, Any]) -> tuple[str, str]:
    words = {
        "total": formats.money(data["total"]),
        "balance": formats.money(data["balance"]),
        "missing": formats.money(data["total"] - data["balance"]),
        "until": _moment(data["lapses_at"]),
        "order": data["order"],
    }
    if data["outcome"] == "bought":
        return _("The waiting purchase is made"), (
            _("The money is there: order %(order)s over %(total)s is placed. The balance is %(balance)s.") % words
        )
    if data["outcome"] == "short":
        return _("The purchase still waits for money"), (
            _(
                "Money came in, and the balance is %(balance)s. The purchase of %(total)s is still %(missing)s short. "
                "It is completed as soon as the money is there, until %(until)s."
            )
            % words
        )
    if data["outcome"] == "late":
        words["amount"] = formats.money(data["amount"])
        return _("Money came for a purchase that no longer waits"), (
            _(
                "%(amount)s were paid for the purchase of %(total)s, which was made or ended before. The money is on "
                "the balance, which is %(balance)s."
            )
            % words
        )
    kept = _("Nothing was bought. The money stays on the balance, which is %(balance)s.") % words
    return _("The waiting purchase was not made"), formats.gap().join([checkout_reason(data["outcome"], words), kept])


def checkout_reason(reason: str, words: dict[str, Any]) -> str:
    """Why a waiting purchase came to nothing; `words` has its `total` and `until` when it waited."""
    sentences = {
        "lapsed": _("The purchase of %(total)s waited 24 hours for its money, until %(until)s."),
        "price_changed": _("A price changed while the purchase of %(total)s waited for its money."),
        "unknown_sku": _("A pack was withdrawn from sale while the purchase of %(total)s waited for its money."),
        "mode_changed": _("The billing mode changed while the purchase of %(total)s waited for its money."),
        "account_in_arrears": _("The account fell into arrears while the purchase of %(total)s waited for its money."),
    }
    other = _("The purchase of %(total)s could not be completed when its money came.")
    return sentences.get(reason, other) % words


def _priced(entry: dict[str, Any], price: Any) -> str:
    """A price of a notice's entry: of a pack in fen, of an item micro-yuan per so many units."""
    return str(formats.unit_price(price[0], price[1], entry["unit"]) if "item" in entry else formats.money(price))


def _what(entry: dict[str, Any]) -> str:
    """The item, or the pack's type and size."""
    name: str = entry["name_zh" if formats.chinese() else "name_en"]
    if "sku" in entry:
        return f"{name} {formats.size(entry['total'], entry['unit'])}"
    return name + (f" ({entry['region']})" if entry["region"] != "cn-mainland" else "")


def _rise(entry: dict[str, Any]) -> str:
    """One line of what becomes dearer or ends."""
    words = {"name": _what(entry), "day": _day(entry["day"]), "before": _priced(entry, entry["before"])}
    pack = "sku" in entry
    if entry["after"] is None:
        if pack:
            return _("%(name)s is no longer sold from %(day)s on; until then it costs %(before)s.") % words
        return _("%(name)s is no longer sold from %(day)s on.") % words
    words["after"] = _priced(entry, entry["after"])
    if pack:
        return _("%(name)s: %(after)s from %(day)s on; until then it can be bought at %(before)s.") % words
    return _("%(name)s: %(after)s instead of %(before)s from %(day)s on.") % words


def _stays(entry: dict[str, Any]) -> str:
    """One line of what was announced and does not come."""
    after = entry.get("after")
    words = {"name": _what(entry), "day": _day(entry["day"]), "before": _priced(entry, entry["before"])}
    if after is None or after == entry["before"]:
        return _("%(name)s: what was announced for %(day)s does not come; the price stays %(before)s.") % words
    words["after"] = _priced(entry, after)
    return _("%(name)s: what was announced for %(day)s does not come; the price is then %(after)s.") % words


def _price_rise(data: dict[str, Any]) -> tuple[str, str]:
    if "cancelled" in data:
        return _("An announced price change is cancelled"), "\n".join(map(_stays, data["cancelled"]))
    packs = data.get("packs", [])
    lines = [_rise(entry) for entry in [*data["items"], *packs]]
    words = {
        "first": _day(data["first_day"]),
        "last": _day(data["last_day"]),
        "before": formats.money(data["before"]),
        "after": formats.money(data["after"]),
    }
    if data["items"] and data["before"] == data["after"]:
        lines.append(_("What the account was charged from %(first)s to %(last)s would have been the same.") % words)
    elif data["items"]:
        lines.append(
            _(
                "From %(first)s to %(last)s the account was charged %(before)s pay-as-you-go. At the new prices the "
                "same usage would have cost %(after)s."
            )
            % words
        )
    if "bought" in data:
        old, new = (formats.money(fen) for fen in data["bought"])
        lines.append(
            _("From %(first)s to %(last)s you paid %(old)s for packs of these sizes; they would have cost %(new)s.")
            % (words | {"old": old, "new": new})
        )
    if packs:
        lines.append(_("Packs that you hold stay as they are."))
    ends = all(entry["after"] is None for entry in [*data["items"], *packs])
    return _("An end of sale") if ends else _("Prices rise"), "\n".join(lines)


def _balance_low(data: dict[str, Any]) -> tuple[str, str]:
    words = {"balance": formats.money(data["balance"]), "threshold": formats.money(data["threshold"])}
    return _("The balance is running low"), (
        _("The balance is %(balance)s, below your threshold of %(threshold)s. Below 0 the account is in arrears.")
        % words
    )


def _bill_ready(data: dict[str, Any]) -> tuple[str, str]:
    words = {
        "day": _day(data["day"]),
        "due": formats.money(data["due"]),
        "balance": formats.money(data["balance"]),
    }
    late = data["sequence"] > 1
    subject = _("Supplementary bill of %(day)s: %(due)s") if late else _("Bill of %(day)s: %(due)s")
    return subject % words, _("%(due)s were taken from the balance, which is %(balance)s.") % words


def _email_asked(data: dict[str, Any]) -> tuple[str, str]:
    return _("A new address for the login was asked for"), (
        _(
            "%(new)s is to be the address that one signs in with; it counts once it is confirmed there. If this was "
            "not you, change the password: that ends it."
        )
        % data
    )


def _email_changed(data: dict[str, Any]) -> tuple[str, str]:
    return _("The login has a new address"), (
        _(
            "One signs in with %(new)s from now on, no longer with %(old)s. If this was not you, write to us at once: "
            "%(contact)s."
        )
        % (data | {"contact": settings.DEFAULT_FROM_EMAIL})
    )


def _password_changed(data: dict[str, Any]) -> tuple[str, str]:
    return _("The password was changed"), (
        _(
            "All other sessions of the login were signed out. If this was not you, set a new password by way of "
            "“Forgot the password”, and look at the account's keys."
        )
    )


def _closed(data: dict[str, Any]) -> tuple[str, str]:
    words = {"payout": formats.money(data["payout"]), "until": _moment(data["reads_until"])}
    said = [_("Usage from now on is refused; keys and webhooks are revoked.")]
    if data["payout"]:
        said.append(_("Our staff pay out the balance of %(payout)s.") % words)
    if data["given_up"]:
        said.append(_("Packs that could not be returned any more are given up."))
    said.append(_("Bills, ledger and messages can be read until %(until)s.") % words)
    return _("The account is closed"), formats.gap().join(said)


def _reopened(data: dict[str, Any]) -> tuple[str, str]:
    return _("The account is open again"), _(
        "Usage is taken again. Keys and webhooks have to be made anew; packs that were given up stay ended."
    )


def _paid_out(data: dict[str, Any]) -> tuple[str, str]:
    words = {"amount": formats.money(data["amount"]), "reference": data["reference"]}
    return _("%(amount)s are paid out") % words, _("The payment's reference is %(reference)s.") % words


PLAIN: dict[str, Callable[[dict[str, Any]], tuple[str, str]]] = {
    Notice.Type.PACK_LOW: _pack_low,
    Notice.Type.PACK_EXHAUSTED: _pack_exhausted,
    Notice.Type.ENDPOINT_DISABLED: _endpoint_disabled,
    Notice.Type.CHECKOUT: _checkout,
    Notice.Type.PRICE_RISE: _price_rise,
    Notice.Type.BALANCE_LOW: _balance_low,
    Notice.Type.BILL_READY: _bill_ready,
    Notice.Type.EMAIL_ASKED: _email_asked,
    Notice.Type.EMAIL_CHANGED: _email_changed,
    Notice.Type.PASSWORD_CHANGED: _password_changed,
    Notice.Type.CLOSED: _closed,
    Notice.Type.REOPENED: _reopened,
    Notice.Type.PAID_OUT: _paid_out,
}


def _day(text: str) -> str:
    return formats.day(date.fromisoformat(text))


def _moment(text: str) -> str:
    """A stored moment in Asia/Shanghai, to the minute, with its year: a mail is read later."""
    local = datetime.fromisoformat(text).astimezone(SHANGHAI)
    return f"{formats.day(local.date())} {local:%H:%M}"
