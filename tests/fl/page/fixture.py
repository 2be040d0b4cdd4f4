"""A report with realistic numbers, its pictures and its curves."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from fl.report import (
    Baselines,
    Claim,
    CostRow,
    CrowdRow,
    Curve,
    DataSource,
    DrillRow,
    Federation,
    Gallery,
    Gate,
    LeakageRow,
    LedgerRow,
    LocalBaseline,
    Machine,
    Manifest,
    PooledBaseline,
    PrivacyRow,
    Refusal,
    Report,
    Scenario,
    Series,
    Statement,
    UtilityRow,
    Verdict,
)
from tests.fl.page import exposed

NONE, SECAGG, HE, SGD = "none", "secagg", "he-bfv", "dp-sgd"
CENTRAL, BOTH = "central-dp", "secagg+central-dp"
PROTECTIONS = (NONE, SECAGG, HE, SGD, CENTRAL, BOTH)
NOISED = (SGD, CENTRAL, BOTH)
HIDDEN = (SECAGG, HE, BOTH)
RULE = (
    "pairwise masks: the server receives words that are uniform mod 2^32 until it is "
    "due the sum of at least 5 honest inputs; assumes the server follows the protocol."
)
SEEDS = (101, 102, 103)


def leak(
    protection: str,
    adversary: str,
    scenario: Scenario,
    attack: str,
    metric: str,
    numbers: tuple[float, float, float, float],
    verdict: Verdict,
    *,
    view: str = "one client's update",
    n: int = 60,
    n_failed: int = 0,
    seconds: float = 41.3,
    min_detectable: float | None = None,
) -> LeakageRow:
    """One measured row; `numbers` are value, low, high and the null."""
    value, low, high, null = numbers
    if verdict is Verdict.NOT_DETECTED and min_detectable is None:
        min_detectable = null + (high - low)
    return LeakageRow(
        protection=protection,
        adversary=adversary,
        view=view,
        scenario=scenario,
        attack=attack,
        metric=metric,
        value=value,
        low=low,
        high=high,
        confidence=0.9979,
        n=n,
        n_failed=n_failed,
        null=null,
        verdict=verdict,
        min_detectable=min_detectable,
        seeds=SEEDS,
        seconds=seconds,
    )


def unmeasured(
    protection: str,
    adversary: str,
    scenario: Scenario,
    attack: str,
    metric: str,
    verdict: Verdict,
    why: str,
    view: str = "one masked upload",
) -> LeakageRow:
    """One row that rests on a reason, not on a number."""
    return LeakageRow(
        protection=protection,
        adversary=adversary,
        view=view,
        scenario=scenario,
        attack=attack,
        metric=metric,
        value=None,
        low=None,
        high=None,
        confidence=None,
        n=0,
        n_failed=0,
        null=None,
        verdict=verdict,
        min_detectable=None,
        seeds=(),
        seconds=None,
        why=why,
    )


def leakage() -> tuple[LeakageRow, ...]:
    """Four adversaries, both scenarios, all five verdicts."""
    return (*_on_uploads(), *_on_sums(), *_on_models())


A, W = Scenario.AS_CONFIGURED, Scenario.WORST_CASE
LEAKS, QUIET = Verdict.LEAKS, Verdict.NOT_DETECTED
LINEAR, COSINE = "linear-layer inversion", "gradient matching (cosine, TV)"
LOSS, LIRA = "membership by loss", "membership by likelihood ratio (LiRA)"


def _on_uploads() -> list[LeakageRow]:
    """What the server, alone or with 2 clients, makes of single uploads."""
    rows: list[LeakageRow] = []
    exact, own = (100.0, 100.0, 100.0, 12.1), (14.2, 13.1, 15.3, 11.9)
    matched, noised = (27.4, 24.9, 29.9, 12.1), (12.3, 11.2, 13.4, 12.1)
    for p, who in (
        (NONE, "server"),
        (CENTRAL, "server"),
        (SGD, "server"),
        (HE, "server+2"),
        (NONE, "server+2"),
        (CENTRAL, "server+2"),
        (SGD, "server+2"),
    ):
        blurred = p == SGD
        rows += [
            leak(
                p,
                who,
                A,
                LINEAR,
                "psnr_db",
                noised if blurred else own,
                QUIET if blurred else LEAKS,
            ),
            leak(
                p,
                who,
                W,
                LINEAR,
                "psnr_db",
                (12.9, 12.2, 13.6, 12.1) if blurred else exact,
                LEAKS if blurred else Verdict.RECOVERED,
                seconds=0.8,
            ),
            leak(
                p,
                who,
                W,
                COSINE,
                "psnr_db",
                noised if blurred else matched,
                QUIET if blurred else LEAKS,
                n_failed=2,
                seconds=212.0,
            ),
        ]
    held = [("server", p) for p in HIDDEN] + [("server+2", p) for p in (SECAGG, BOTH)]
    rows += [
        unmeasured(p, who, scenario, LINEAR, "psnr_db", Verdict.PREVENTED, RULE)
        for who, p in held
        for scenario in (A, W)
    ]
    return rows


def _on_sums() -> list[LeakageRow]:
    """What the server makes of the sum that it is due."""
    rows: list[LeakageRow] = []
    for p in HIDDEN:
        rows.append(
            leak(
                p,
                "server",
                A,
                COSINE,
                "psnr_db",
                (12.2, 11.5, 12.9, 11.9),
                QUIET,
                view="sum of 10 updates",
                seconds=188.0,
            )
        )
        rows.append(
            leak(
                p,
                "server+2",
                W,
                LINEAR,
                "psnr_db",
                (14.9, 13.8, 16.0, 12.1),
                LEAKS,
                view="sum of 8 updates",
                n=40,
            )
        )
    return rows


def _on_models() -> list[LeakageRow]:
    """What an outsider and a participant make of the released models."""
    rows: list[LeakageRow] = []
    for p in PROTECTIONS:
        noised = p in NOISED
        auc = 0.522 if noised else 0.671
        rows.append(
            leak(
                p,
                "outsider",
                A,
                LIRA,
                "auc",
                (auc, auc - 0.031, auc + 0.031, 0.5),
                QUIET if noised else LEAKS,
                view="final model",
                n=1400,
                seconds=96.0,
            )
        )
        rows.append(
            leak(
                p,
                "outsider",
                A,
                LOSS,
                "tpr_at_fpr_0.01",
                (0.034, 0.019, 0.055, 0.01)
                if p == NONE
                else (0.012, 0.004, 0.03, 0.01),
                LEAKS if p == NONE else QUIET,
                view="final model",
                n=1400,
                seconds=1.2,
            )
        )
        if p != NONE:
            rows.append(
                leak(
                    p,
                    "client",
                    A,
                    LOSS,
                    "auc",
                    (0.541, 0.493, 0.589, 0.5),
                    QUIET,
                    view="each global model",
                    n=1400,
                    seconds=3.4,
                )
            )
    rows.append(
        unmeasured(
            NONE,
            "client",
            A,
            LIRA,
            "auc",
            Verdict.NOT_MEASURED,
            "The quick profile trains no shadow models from a client's own records.",
            view="each global model",
        )
    )
    return rows


def privacy(*, violated: bool = False) -> tuple[PrivacyRow, ...]:
    """Three proven bounds, one of them audited; `violated` breaks that one."""
    lower = 9.21 if violated else 0.61
    return tuple(
        PrivacyRow(
            protection=p,
            unit="example" if p == SGD else "client",
            relation="add or remove one",
            delta=1e-5 if p in NOISED else None,
            epsilon_upper={SGD: 7.94, CENTRAL: 24.0, BOTH: 24.0}.get(p),
            accountant="PLD" if p in NOISED else None,
            epsilon_lower=lower if p == SGD else None,
            ceiling=(11.4 if violated else 3.42) if p == SGD else None,
            confidence=0.95 if p == SGD else None,
            n_canaries=128 if p == SGD else 0,
        )
        for p in PROTECTIONS
    )


STATEMENT = (
    "For every record: whether it took part changes the probability of any outcome by "
    "a factor of at most exp(epsilon), apart from a failure of probability delta.",
    "It holds against whoever sees the released models, with any other knowledge.",
)


def crowd(clients: int, drop: int) -> tuple[CrowdRow, ...]:
    """Honest inputs per sum, and what an attack on sums of that many found."""
    found = (
        (16.9, 15.2, 18.6, LEAKS),
        (14.9, 13.8, 16.0, LEAKS),
        (12.4, 11.5, 13.3, QUIET),
        (12.0, 11.1, 12.9, QUIET),
    )
    rows = []
    for a in range(4):
        for d in range(drop + 2):
            honest = clients - a - d if d <= drop else None
            measured = honest is not None and a < 3
            value, low, high, verdict = found[min((honest or 1) // 3, 3)]
            rows.append(
                CrowdRow(
                    colluders=a,
                    dropouts=d,
                    honest=honest,
                    attack=LINEAR if measured else None,
                    metric="psnr_db" if measured else None,
                    value=value if measured else None,
                    low=low if measured else None,
                    high=high if measured else None,
                    confidence=0.9979 if measured else None,
                    n=40 if measured else 0,
                    null=12.1 if measured else None,
                    verdict=verdict if measured else None,
                )
            )
    return tuple(row for row in rows if row.colluders + row.dropouts <= clients)


def ledger(clients: int) -> tuple[LedgerRow, ...]:
    """One party per client under dp-sgd, one for all under client-level noise."""
    own = [
        LedgerRow(
            protection=SGD,
            party=f"client-{i}",
            unit="example",
            releases=4 + i % 4,
            refused=i % 2,
            epsilon_spent=6.1 + 0.613 * (i % 4),
            epsilon_budget=8.0,
            delta=1e-5,
        )
        for i in range(clients)
    ]
    joint = [
        LedgerRow(
            protection=p,
            party="all clients",
            unit="client",
            releases=30,
            refused=0,
            epsilon_spent=24.0,
            epsilon_budget=24.0,
            delta=1e-5,
        )
        for p in (CENTRAL, BOTH)
    ]
    return (*own, *joint)


def drill() -> tuple[DrillRow, ...]:
    """The same audit with the noise added and with it left out."""
    return tuple(
        DrillRow(
            name="dp-sgd step",
            noise=noise,
            claimed_epsilon=1.0,
            delta=1e-5,
            epsilon_lower=lower,
            ceiling=5.13,
            confidence=0.95,
            n_canaries=1000,
            violated=lower > 1,
            detail=detail,
        )
        for noise, lower, detail in (
            ("added", 0.52, "One step with canaries of the clip norm."),
            ("left out", 4.88, "The same step, its noise left out on purpose."),
        )
    )


def refusing() -> Report:
    """The report of a federation too small for client-level noise."""
    whole = report(clients=4)
    why = (
        "Client-level differential privacy hides one client among 4, and the noise "
        "that this takes drowns the model; use dp-sgd, whose unit is one record."
    )
    tables = "utility privacy leakage cost ledger statements exposure".split()
    kept = {
        table: [r for r in getattr(whole, table) if r.protection not in (CENTRAL, BOTH)]
        for table in tables
    }
    refused = [Refusal(protection=p, why=why) for p in (CENTRAL, BOTH)]
    given = {name: value for name, value in whole if name != "schema_id"}
    return Report.model_validate(given | kept | {"refused": refused})


def report(
    *,
    clients: int = 10,
    passed: bool = True,
    data: str = "digits",
    violated: bool = False,
) -> Report:
    """The whole report; `clients` below 10 puts the crowd table first."""
    drop, corrupt = (3, 2) if clients >= 10 else (1, 1)
    return Report(
        answer=(
            "Without protection the server rebuilt 58 of 60 training images exactly "
            "from single steps.",
            "Secure aggregation took single updates out of its reach at no loss of "
            "accuracy, but the server with 2 colluding clients still learned "
            "something from the sum of the others.",
            "Record-level noise (dp-sgd, epsilon 7.9) left no attack of this run above "
            "chance and cost 4.4 points of accuracy; client-level noise left no model.",
        ),
        federation=Federation(
            clients=clients,
            corrupt=corrupt,
            drop=drop,
            threshold=clients - drop,
            honest_min=max(clients - drop - corrupt, 0),
            rounds=30,
            partition="Dirichlet(0.5) by label",
            records=1437,
            test_records=360,
            input_shape=(1, 8, 8),
            classes=10,
            model="MLP 64-64-10",
            parameters=4810,
            data=data,
            plan_sentence=f"Any {drop} of {clients} clients may vanish; the server and "
            f"{corrupt} clients together learn nothing but sums of at least "
            f"{max(clients - drop - corrupt, 0)} honest inputs.",
        ),
        utility=(
            *(
                UtilityRow(
                    protection=p, metric="accuracy", value=v, low=lo, high=hi, n=360
                )
                for p, v, lo, hi in (
                    (NONE, 0.9472, 0.9192, 0.9675),
                    (SECAGG, 0.9472, 0.9192, 0.9675),
                    (HE, 0.9472, 0.9192, 0.9675),
                    (SGD, 0.9028, 0.8674, 0.9313),
                    (CENTRAL, 0.1212, 0.0893, 0.1591),
                    (BOTH, 0.1179, 0.0864, 0.1555),
                )
            ),
            *(
                UtilityRow(
                    protection=p,
                    metric="worst client's loss",
                    value=v,
                    low=None,
                    high=None,
                    n=360,
                )
                for p, v in ((NONE, 0.41), (BOTH, 0.66))
            ),
        ),
        privacy=privacy(violated=violated),
        leakage=leakage(),
        crowd=crowd(clients, drop),
        cost=tuple(
            CostRow(
                protection=p,
                bytes_up=up,
                bytes_down=0.9 * up,
                client_cpu_s=client,
                server_cpu_s=server,
            )
            for p, up, client, server in (
                (NONE, 19_240, 0.0031, 0.0004),
                (SECAGG, 24_310, 0.0214, 0.131),
                (HE, 812_400, 0.0871, 0.0412),
                (SGD, 19_240, 0.0038, 0.0006),
                (CENTRAL, 19_240, 0.0033, 0.0007),
                (BOTH, 24_310, None, None),
            )
        ),
        baselines=Baselines(
            pooled=PooledBaseline(value=0.9667, low=0.9426, high=0.9827, n=360),
            local_only=LocalBaseline(mean=0.7413, low=0.6222, high=0.8417, n=clients),
            majority=0.1028,
        ),
        ledger=ledger(clients),
        statements=tuple(Statement(protection=p, sentences=STATEMENT) for p in NOISED),
        drill=drill(),
        validity=exposed.validity(valid=passed),
        exposure=exposed.exposure((NONE, SGD)),
        gates=(
            Gate(
                name="sum equals the plain mean", passed=True, detail="max error 3.1e-6"
            ),
            Gate(
                name="measured epsilon below proven epsilon",
                passed=passed,
                detail="0.61 against 7.94" if passed else "9.2 against 7.94",
            ),
            Gate(name="nulls at chance", passed=True, detail="AUC 0.503 on shuffled"),
        ),
        not_covered=(
            "A server that departs from the protocol: choosing the model, the cohort "
            "or what it sends to whom.",
            "What repeated rounds give away together; each attack saw one round or the "
            "final model.",
            "Side channels: timing, message sizes and who took part.",
            "Property and distribution inference.",
        ),
        manifest=Manifest(
            run="2026-03-14T09-26-53Z-digits-quick",
            version="0.1.0",
            commit="8f14e45fceea167a5a36dedd4bea2543c0ffee00",
            seed=7,
            seeds={"partition": 1144, "training": 2718, "noise": 3141, "attacks": 5772},
            config={
                "data": {"name": data, "test_fraction": 0.2},
                "federation": {"clients": clients, "corrupt": corrupt, "drop": drop},
                "train": {"rounds": 30, "batch": 16, "rate": 0.1},
                "dp": {"unit": "client", "clip_norm_l2": 1.0, "noise_multiplier": 1.1},
            },
            started_utc="2026-03-14T09:26:53Z",
            seconds=287.4,
            machine=Machine(
                cpu="x86_64, 2.8 GHz", cores=2, python="3.11.9", torch="2.13.0"
            ),
            simulation=True,
            data=DataSource(
                origin="built-in",
                provenance="scikit-learn load_digits (UCI optical recognition)",
                sha256="9f2c" * 16,
            ),
            packages={"numpy": "2.1.0", "torch": "2.13.0", "scikit-learn": "1.5.2"},
        ),
    )


def galleries() -> tuple[Gallery, ...]:
    """Digits as the server rebuilds them without protection, and from a sum."""
    digits = load_digits()
    images = [image / 16 for image in digits.images[:8]]
    others = [image / 16 for image in digits.images[100:108]]
    labels = tuple(str(label) for label in digits.target[:8])
    rng = np.random.default_rng(5)
    noisy = [np.clip(i + rng.normal(0, 0.05, i.shape), 0, 1) for i in images]
    blurred = [
        np.clip(np.mean(images, axis=0) + rng.normal(0, 0.2, i.shape), 0, 1)
        for i in images
    ]
    return (
        Gallery(
            title="Server, no protection: one step, one record",
            caption="Linear-layer inversion, the first eight victims in order of their "
            "index, not the best eight.",
            originals=tuple(images),
            reconstructions=tuple(noisy),
            null=tuple(others),
            psnr=(26.1, 25.8, 26.4, 25.9, 26.0, 26.3, 25.7, 26.2),
            labels=labels,
        ),
        Gallery(
            title="Server and 2 clients, secure aggregation: the sum of 8 updates",
            caption="The same attack on the sum; what comes back is close to the mean "
            "of the data, as the null is.",
            originals=tuple(images),
            reconstructions=tuple(blurred),
            null=tuple(others),
            psnr=(12.6, 11.4, 13.0, 12.2, 11.8, 12.9, None, 12.4),
            labels=labels,
        ),
    )


def curves() -> tuple[Curve, ...]:
    """Accuracy per round, PSNR over the batch, a ROC."""
    rounds = tuple(float(r) for r in range(1, 31))
    none = tuple(0.95 - 0.85 * np.exp(-r / 4) for r in rounds)
    masked = tuple(v - 0.002 for v in none)
    noised = tuple(0.90 - 0.80 * np.exp(-r / 6) for r in rounds)
    lost = tuple(0.11 + 0.01 * np.sin(r) for r in rounds)
    spent = tuple(2.9 + 0.17 * r for r in rounds)
    limit = tuple(min(1.0, np.exp(2.0) * v + 1e-5) for v in np.geomspace(1e-3, 1, 120))
    batches = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
    exact = (58.0, 38.0, 29.0, 22.0, 17.5, 14.4, 12.8)
    hidden = (12.4, 12.1, 12.0, 12.2, 11.9, 12.0, 12.1)
    fpr = tuple(float(v) for v in np.geomspace(1e-3, 1, 120))
    tpr = tuple(min(1.0, 1.9 * v**0.86) for v in fpr)
    guess = tuple(min(1.0, 1.04 * v) for v in fpr)
    return (
        Curve(
            title="Accuracy after each round",
            caption="Held-out accuracy of the global model, n = 360.",
            x_label="round",
            y_label="accuracy",
            place="utility",
            series=(
                Series(name=NONE, x=rounds, y=none),
                Series(name=SECAGG, x=rounds, y=masked),
                Series(name=HE, x=rounds, y=none),
                Series(name=SGD, x=rounds, y=noised),
                Series(name=CENTRAL, x=rounds, y=lost),
                Series(name=BOTH, x=rounds, y=tuple(v - 0.01 for v in lost)),
                Series(
                    name="all data in one place",
                    x=(1.0, 30.0),
                    y=(0.9667, 0.9667),
                    low=(0.9426, 0.9426),
                    high=(0.9827, 0.9827),
                    role="reference",
                ),
            ),
        ),
        Curve(
            title="Accuracy against epsilon spent",
            caption="One point per round; dashed, final accuracy without noise.",
            x_label="epsilon spent",
            y_label="accuracy",
            place="utility",
            series=(
                Series(name=SGD, x=spent, y=noised, low=noised, high=noised),
                Series(name=CENTRAL, x=tuple(3 * v for v in spent), y=lost),
                Series(name=NONE, x=(3.0, 24.0), y=(0.9472, 0.9472), role="reference"),
            ),
        ),
        Curve(
            title="Reconstruction quality over the batch size, worst case",
            caption="Mean PSNR over 40 victims with simultaneous 95 % intervals; grey, "
            "the null.",
            x_label="records in the batch",
            y_label="PSNR (dB)",
            log_x=True,
            series=(
                Series(
                    name=NONE,
                    x=batches,
                    y=exact,
                    low=tuple(v - 1.6 for v in exact),
                    high=tuple(v + 1.6 for v in exact),
                ),
                Series(
                    name=SECAGG,
                    x=batches,
                    y=hidden,
                    low=tuple(v - 0.9 for v in hidden),
                    high=tuple(v + 0.9 for v in hidden),
                ),
                Series(
                    name="null: another record",
                    x=(1.0, 64.0),
                    y=(12.1, 12.1),
                    low=(11.3, 11.3),
                    high=(12.9, 12.9),
                    role="reference",
                ),
            ),
        ),
        Curve(
            title="Membership inference by likelihood ratio",
            caption="1400 records, 32 shadow models; the band is the 95 % interval.",
            x_label="false positive rate",
            y_label="true positive rate",
            log_x=True,
            log_y=True,
            diagonal=True,
            series=(
                Series(
                    name=NONE,
                    x=fpr,
                    y=tpr,
                    low=tuple(0.7 * v for v in tpr),
                    high=tuple(min(1.0, 1.3 * v) for v in tpr),
                ),
                Series(name=SGD, x=fpr, y=guess),
                Series(name="limit of dp-sgd", x=fpr, y=limit, role="reference"),
            ),
        ),
    )


def claims() -> tuple[Claim, ...]:
    """What the two mechanisms promise."""
    return (
        Claim(
            protection=SECAGG,
            proven=(
                "The server's view can be simulated from the sum over the survivors.",
            ),
            assumes=(
                "The server follows the protocol; at most 2 clients collude with it.",
                "X25519, HKDF-SHA256 and AES-256-CTR hold.",
            ),
        ),
        Claim(
            protection=BOTH,
            proven=(),
            assumes=("At most 2 clients leave their share of the noise out.",),
        ),
    )
