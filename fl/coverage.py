"""What the page does not speak of: every limit of the evidence, in sentences.

The numbers in them come from the configuration and the evidence. Nothing is measured or
decided here.
"""

from __future__ import annotations

from fl.config import Config
from fl.evidence import Evidence
from fl.inversion import MATCHED_RECORDS, UNROLLED_RECORDS
from fl.report import wording
from fl.stages.setting import MATCHED_BATCHES

NOT_COVERED = (
    "A server that lies (malicious_server): keys, cohort and dropout list are taken "
    "from it as it gives them.",
    "Property inference, and inversion over several rounds together.",
    "Membership in the worst case, other than by the canaries beside epsilon; "
    "likelihood ratios against anything but the released model.",
    "Gradient matching on more than {matched} records at once, on batches above "
    "{batch} in the worst case, with generative priors, or unrolled over local steps "
    "of more than {unrolled} records in all; other attacks may find more.",
    "Messages of other rounds than {rounds}, and of more than one client in each; "
    "the worst case of other repetitions than the first.",
    "Intervals of accuracy and membership resample {repeats} repetitions only.",
)
NOISED = (
    "What differential privacy does not count: the number of clients and of records, "
    "the choice of settings, accuracy figures, floating-point effects of the noise, "
    "and {spread}."
)
SPREAD = {
    "example": "people with several records, or with records at several clients",
    "subject": "people with records at more clients than were declared",
}
ATTACKED_RECORDS = (
    "Attacks on whole persons, other than by the canaries beside epsilon: the other "
    "rows ask about single records, which are in or out with all of their person's."
)
CANARIES = (
    "Lower bounds on epsilon by other canaries than clients of one coordinate and "
    "mislabelled held-out records; a bound below the proven one is no proof that the "
    "proven one is tight."
)
SHARED_KEY = (
    "Tampered ciphertexts: they are framed and counted, not authenticated, and parsed "
    "where the sum is made."
)
CLIENTS_ONLY = (
    "What publishing does under he-ckks: the model and the accuracies of this page "
    "are for its clients alone, since whoever has the ciphertexts besides could "
    "compute their key."
)
SKEWED = (
    "Under the {partition} partition a client's records differ from the held-out ones "
    "in more than membership; what is measured on its own messages counts both."
)
LEARNT = (
    "What preparing the table tells everybody, through sums that no attack here looks "
    "at: {reveals}"
)


def not_covered(evidence: Evidence, config: Config) -> tuple[str, ...]:
    """Return what the page does not speak of."""
    rounds = sorted(
        {
            snapshot.index
            for repeat in evidence.repeats
            for run in repeat.runs.values()
            for snapshot in run.snapshots
        }
    )
    said = [
        line.format(
            matched=MATCHED_RECORDS,
            unrolled=UNROLLED_RECORDS,
            batch=sorted(config.attacks.batches)[:MATCHED_BATCHES][-1],
            rounds=", ".join(str(index + 1) for index in rounds),
            repeats=len(evidence.repeats),
        )
        for line in NOT_COVERED
    ]
    if any(one.accounts for one in evidence.repeats[0].runs.values()):
        spread = SPREAD[config.privacy.example.unit]
        said += [NOISED.format(spread=spread), CANARIES]
    if config.data.subject:
        said.append(ATTACKED_RECORDS)
    if any(wording.trusts(name) for name in evidence.repeats[0].runs):
        said.append(SHARED_KEY)
    if "he-ckks" in evidence.repeats[0].runs:
        said.append(CLIENTS_ONLY)
    if config.federation.partition == "dirichlet":
        said.append(SKEWED.format(partition=config.federation.partition))
    learnt = next(iter(evidence.repeats[0].federations.values())).learnt
    if learnt is not None and learnt.sums:
        said.append(LEARNT.format(reveals=learnt.reveals))
    said += [f"{why[0].upper()}{why[1:]}" for why in evidence.limits]
    if evidence.stopped:
        said.append(
            f"The rest of {evidence.stopped} and all that follows it: Ctrl-C stopped "
            "the run there."
        )
    return tuple(said)
