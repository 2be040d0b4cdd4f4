"""The page's words: what each verdict means, and how a number is written.

One place, so that the page, the text report and the tests say the same. It does NOT
decide a verdict or round a number that is compared: only what is shown is rounded.
"""

from __future__ import annotations

import re

from fl.report.records import Scenario, Verdict

MEANING: dict[Verdict, str] = {
    Verdict.RECOVERED: "A record came back exactly, or with a certificate.",
    Verdict.LEAKS: "The attack beats chance: its whole interval lies above the null.",
    Verdict.NOT_DETECTED: "No effect seen; an effect below the smallest detectable "
    "one may still be there.",
    Verdict.PREVENTED: "Ruled out by a stated rule, under a stated assumption; "
    "not by an attack that failed.",
    Verdict.NOT_MEASURED: "Nobody looked. It says nothing either way.",
}
GLOSSARY: dict[str, str] = {
    "example": "One record of the data: one image, one row of a table.",
    "subject": "One person with all records of the data that are theirs.",
    "client": "One party that holds records: a hospital, a phone.",
    "null": "What the same attack yields where there is nothing to find: the score of "
    "other real records, or of guessing.",
    "linear, DLG, cosine": "Attacks that compute records back from an update.",
    "attribute inference": "An attack that guesses a column of a record of which all "
    "else is known. Where it beats imputation, the model may just have learnt what "
    "people are like; only members above others are about these records.",
    "property inference": "An attack that says whether the records of a batch have "
    "something in common.",
    "label counts": "An attack that says how many records of each class there were.",
    "loss threshold, entropy, LiRA, RMIA": "Attacks that say whether a record was in "
    "the training.",
    "PSNR, SSIM": "How near a reconstruction is to the record; higher is nearer. Above "
    "about 30 dB an image is recognised.",
    "numbers, categories right": "How many fields of a table's rows came back: numbers "
    "within 1 % of their range. Chance is the commonest row, or other rows.",
    "FedMIA, matched filter": "Attacks that say whether a record was in the training, "
    "from updates or their sums: against the other clients' updates, and against "
    "gradients of records that are in nobody's training.",
    "AUC": "How well members are told from others: 0.5 is guessing, 1 is always right.",
    "TPR at a FPR": "The share of members that are found while so few others are "
    "wrongly accused.",
}
SCENARIO: dict[Scenario, tuple[str, str]] = {
    Scenario.AS_CONFIGURED: (
        "As configured",
        "Attacks on the very messages of this run, with its own batches and epochs.",
    ),
    Scenario.WORST_CASE: (
        "Worst case",
        "Attacks on one training step with small batches: what this model gives away "
        "when the setting favours the attacker.",
    ),
}
# The same for a model that was trained elsewhere: there is no run to attack.
GIVEN = (
    "What was given",
    "Attacks on the model, and on whatever else was given with it.",
)
# DESIGN section 5; `server+2` and the like share the words of `server+A`.
SEES: dict[str, str] = {
    "server": "sees every message of the round and each released model",
    "server+A": "sees what the server sees, plus all secrets of {} colluding clients",
    "malicious_server": "chooses the model, the cohort and its messages",
    "client": "sees each global model and its own state",
    "outsider": "sees the final model only",
}
# Protections under which any client's key opens every upload say so by their names.
_SHARED_KEY = "he-"
_METRICS = {
    "psnr_db": "PSNR",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "auc": "AUC",
    "mse": "MSE",
    "accuracy": "accuracy",
}
_TPR = re.compile(r"^tpr_?(?:at|@)_?(?:fpr_?)?([0-9.eE-]+)(?:_?fpr)?$")
NONE = "–"
_MINUS = "\u2212"  # a line never breaks behind it, unlike a hyphen


def named(protection: str) -> str:
    """Write a protection's name, and whom it trusts where all clients share a key."""
    return " ".join([protection, *(f"({one})" for one in trusts(protection))])


def trusts(protection: str) -> tuple[str, ...]:
    """Return what its users have in common and must trust one another with."""
    return ("shared key",) if protection.startswith(_SHARED_KEY) else ()


def number(value: float | None, *, digits: int = 3) -> str:
    """Write a number with `digits` significant digits, without an exponent if short.

    Returns:
        Text; an en dash for None; whole numbers below 10^15 in full, in thin-spaced
        groups; a true minus sign.
    """
    if value is None:
        return NONE
    if value == 0:
        return "0"
    if value < 0:
        return _MINUS + number(-value, digits=digits)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\u2009")
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        if -4 <= int(exponent) <= digits + 3:
            return f"{float(text):,.0f}".replace(",", "\u2009")
        return f"{mantissa}e{int(exponent)}".replace("-", _MINUS)
    return text


def percent(value: float | None) -> str:
    """Write a share of one as a percentage with one decimal."""
    return NONE if value is None else f"{100 * value:.1f} %"


def measure(value: float | None, metric: str) -> str:
    """Write a metric's value with its unit."""
    if value is None:
        return NONE
    if metric == "accuracy":
        return percent(value)
    return _bare(value, metric) + (" dB" if _in_decibel(metric) else "")


def interval(low: float | None, high: float | None, metric: str) -> str:
    """Write an interval, an open end as an ellipsis; empty where there is none."""
    if low is None and high is None:
        return ""
    ends = ["…" if end is None else _bare(end, metric) for end in (low, high)]
    return f"[{ends[0]}, {ends[1]}]"


def metric_name(metric: str) -> str:
    """Write a metric's name for reading."""
    plain = metric.lower().replace(" (db)", "_db")
    found = _TPR.match(plain)
    if found:
        return f"TPR at {100 * float(found.group(1)):g} % FPR"
    return _METRICS.get(plain, metric.replace("_", " "))


def adversary_sees(adversary: str) -> str:
    """Say what an adversary sees; empty for one that DESIGN does not name."""
    name, plus, colluders = adversary.partition("+")
    if plus and name == "server":
        return SEES["server+A"].format(colluders if colluders != "A" else "the")
    return SEES.get(adversary, "")


def size(count: float | None) -> str:
    """Write a byte count in the largest binary unit that keeps it above one."""
    if count is None:
        return NONE
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{number(count)} {unit}"
        count /= 1024
    return f"{number(count)} GiB"


def duration(seconds: float | None) -> str:
    """Write a duration in ms, s or min."""
    if seconds is None:
        return NONE
    if seconds < 1:
        return f"{number(1000 * seconds)} ms"
    if seconds < 120:
        return f"{number(seconds)} s"
    return f"{number(seconds / 60)} min"


def level(confidence: float | None) -> str:
    """Write a confidence as a percentage without needless digits."""
    return NONE if confidence is None else f"{100 * confidence:.4g} %"


def _bare(value: float, metric: str) -> str:
    if metric == "accuracy":
        return f"{100 * value:.1f}"
    if _in_decibel(metric):
        return f"{value:.1f}"
    # Shares of one get equal digits, so that a value and its interval line up.
    return f"{value:.3f}" if 0.01 <= abs(value) <= 1 else number(value)


def _in_decibel(metric: str) -> bool:
    return "psnr" in metric.lower() or "db" in metric.lower().split("_")
