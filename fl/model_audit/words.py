"""The sentences of a model's page: the answer, the setting, and what is not covered.

Every number comes from a row of the report. Nothing is measured or decided here.
"""

from __future__ import annotations

from collections.abc import Sequence

from fl.model_audit.claims import Claimed
from fl.model_audit.lower import Lower
from fl.model_audit.measure import MODEL, RELEASED
from fl.phrases import deciding
from fl.report import Gate, LeakageRow, UtilityRow, Verdict
from fl.report.wording import measure, metric_name, number, percent

NOT_VERIFIED = "claimed, not verified by us"
SETTING = (
    "The model was trained elsewhere. Nothing is known here of how, or of what else it "
    "was trained on; the records were called members and non-members by whoever asked "
    "for this audit."
)
ONE_MODEL = (
    "Other models of the same training: this is one model, and the intervals resample "
    "records, each by itself; where one person has several of them they are too "
    "narrow, unless data.subject says whose each is."
)
TRAINING = (
    "The training itself: every message, model and round before this model, apart from "
    "what stands above as given."
)
SAME_SOURCE = (
    "Whether members and non-members come from one source, beyond the checks above; "
    "what sets them apart other than training counts as leakage here."
)
UNSEEN = (
    "Whether members and non-members are alike without the model: only scores were "
    "given, so nobody looked, and what sets them apart counts as leakage here."
)
NO_REFERENCES = (
    "Attacks that calibrate each record by reference models (--models); they are "
    "stronger than the ones here, so that finding nothing weighs less."
)
_DOES = {
    Verdict.RECOVERED: "recovers records",
    Verdict.LEAKS: "tells members from others",
    Verdict.NOT_DETECTED: "was not seen to tell members from others",
}


def answer(
    utility: Sequence[UtilityRow],
    leakage: Sequence[LeakageRow],
    gates: Sequence[Gate],
    epsilon: str,
) -> tuple[str, str, str]:
    """Return the three sentences that the page opens with."""
    failed = [gate.name for gate in gates if not gate.passed]
    alarm = f"FAILED: {'; '.join(failed)}. " if failed else ""
    return (f"{alarm}{_how_good(utility)}", _what_leaks(leakage), epsilon)


def epsilon_sentence(claimed: Claimed | None, lower: Lower | str, attack: str) -> str:
    """Say what is claimed of epsilon, and what was measured of it."""
    said = "No epsilon is claimed"
    if claimed is not None:
        said = (
            f"An epsilon of {number(claimed.epsilon)} per {claimed.unit} at delta "
            f"{number(claimed.delta)} is {NOT_VERIFIED}"
        )
    if isinstance(lower, str):
        return f"{said}; a lower bound was not measured: {lower}."
    bound = lower.any
    over = claimed is not None and lower.deciding.value > claimed.epsilon
    alarm = "VIOLATION: " if over else ""
    shape = ""
    if lower.gaussian is not None:
        shape = (
            f", and at least {number(lower.gaussian.value)} if its noise is Gaussian "
            "and unsampled, as claimed"
        )
    return (
        f"{alarm}{said}; by {attack} it measures at least {number(bound.value)}, where "
        f"perfect guesses would have shown {number(bound.ceiling)} "
        f"({bound.right} of {bound.guesses} guesses right, {percent(bound.confidence)} "
        f"confidence){shape}."
    )


def not_covered(*, references: bool, records: bool, dropped: int) -> tuple[str, ...]:
    """Return what the page does not speak of."""
    said = [TRAINING, ONE_MODEL, SAME_SOURCE if records else UNSEEN]
    if not references:
        said.append(NO_REFERENCES)
    if dropped:
        said.append(
            f"{dropped} records that were given more than once: nobody can say whether "
            "they are members."
        )
    return tuple(said)


def _how_good(utility: Sequence[UtilityRow]) -> str:
    others, inside = utility[0], utility[1] if len(utility) > 1 else None
    if others.value is None:
        return "How good the model is was not measured: its answers were not given."
    tail = ""
    if inside is not None and inside.value is not None:
        tail = f" and {percent(inside.value)} of {inside.n} members"
    return (
        f"The model gets {percent(others.value)} of {others.n} non-members right "
        f"({percent(others.low)} to {percent(others.high)}){tail}."
    )


def _what_leaks(leakage: Sequence[LeakageRow]) -> str:
    rows = [row for row in leakage if row.view == RELEASED and row.protection == MODEL]
    best = deciding(row for row in rows if row.metric == "AUC")
    worst = deciding(rows)
    if best is None or worst is None or best.value is None:
        return "What an outsider learns was not measured."
    said = (
        f"An outsider who has the model {_DOES[best.verdict]} ({metric_name('auc')} "
        f"{measure(best.value, 'auc')} by {best.attack}, {measure(best.low, 'auc')} to "
        f"{measure(best.high, 'auc')}; guessing gives 0.5)"
    )
    if worst.verdict is Verdict.LEAKS and best.verdict is not Verdict.LEAKS:
        said += f", but beats chance in {metric_name(worst.metric)}"
    seen = {row.adversary for row in leakage if row.value is not None}
    missing = sorted({row.adversary for row in leakage} - seen)
    tail = f"; what a {' or a '.join(missing)} sees was not given" if missing else ""
    return f"{said}{tail}."
