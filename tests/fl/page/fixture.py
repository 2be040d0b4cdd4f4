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
    Federation,
    Gallery,
    Gate,
    LeakageRow,
    LocalBaseline,
    Machine,
    Manifest,
    PooledBaseline,
    PrivacyRow,
    Report,
    Scenario,
    Series,
    UtilityRow,
    Verdict,
)

NONE, SECAGG, DP, BOTH = "none", "secagg", "client DP", "secagg + client DP"
PROTECTIONS = (NONE, SECAGG, DP, BOTH)
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
    """Three adversaries, both scenarios, all five verdicts."""
    a, w = Scenario.AS_CONFIGURED, Scenario.WORST_CASE
    leaks, quiet = Verdict.LEAKS, Verdict.NOT_DETECTED
    linear, cosine, loss, lira = (
        "linear-layer inversion",
        "gradient matching (cosine, TV)",
        "membership by loss",
        "membership by likelihood ratio (LiRA)",
    )
    rows: list[LeakageRow] = []
    for p, (own, worst) in {
        NONE: ((14.2, 13.1, 15.3, 11.9), (100.0, 100.0, 100.0, 12.1)),
        DP: ((12.0, 11.4, 12.6, 11.9), (12.9, 12.2, 13.6, 12.1)),
    }.items():
        rows.append(
            leak(p, "server", a, linear, "psnr_db", own, leaks if p == NONE else quiet)
        )
        rows.append(
            leak(
                p,
                "server",
                w,
                linear,
                "psnr_db",
                worst,
                Verdict.RECOVERED if p == NONE else leaks,
                seconds=0.8,
            )
        )
        rows.append(
            leak(
                p,
                "server",
                w,
                cosine,
                "psnr_db",
                (27.4, 24.9, 29.9, 12.1) if p == NONE else (12.3, 11.2, 13.4, 12.1),
                leaks if p == NONE else quiet,
                n_failed=2,
                seconds=212.0,
            )
        )
    for p in (SECAGG, BOTH):
        for scenario in (a, w):
            rows.append(
                unmeasured(
                    p,
                    "server",
                    scenario,
                    linear,
                    "psnr_db",
                    Verdict.PREVENTED,
                    RULE,
                )
            )
    sums = {SECAGG: (12.2, 11.5, 12.9, 11.9), BOTH: (11.8, 11.1, 12.5, 11.9)}
    for p, own in sums.items():
        rows.append(
            leak(
                p,
                "server",
                a,
                cosine,
                "psnr_db",
                own,
                quiet,
                view="sum of 10 updates",
                seconds=188.0,
            )
        )
        rows.append(
            leak(
                p,
                "server+2",
                w,
                linear,
                "psnr_db",
                (14.9, 13.8, 16.0, 12.1) if p == SECAGG else (12.0, 11.1, 12.9, 12.1),
                leaks if p == SECAGG else quiet,
                view="sum of 8 updates",
                n=40,
            )
        )
    lira_auc = {NONE: 0.671, SECAGG: 0.668, DP: 0.522, BOTH: 0.519}
    for p, auc in lira_auc.items():
        found = leaks if auc > 0.6 else quiet
        rows.append(
            leak(
                p,
                "outsider",
                a,
                lira,
                "auc",
                (auc, auc - 0.031, auc + 0.031, 0.5),
                found,
                view="final model",
                n=1400,
                seconds=96.0,
            )
        )
        rows.append(
            leak(
                p,
                "outsider",
                a,
                loss,
                "tpr_at_fpr_0.01",
                (0.034, 0.019, 0.055, 0.01)
                if p == NONE
                else (0.012, 0.004, 0.03, 0.01),
                leaks if p == NONE else quiet,
                view="final model",
                n=1400,
                seconds=1.2,
            )
        )
    rows.append(
        unmeasured(
            NONE,
            "client",
            a,
            lira,
            "auc",
            Verdict.NOT_MEASURED,
            "The quick profile trains no shadow models from a client's own records.",
            view="each global model",
        )
    )
    return tuple(rows)


def report(*, clients: int = 10, passed: bool = True, data: str = "digits") -> Report:
    """The whole report; `clients` below 10 puts the crowd table first."""
    drop, corrupt = (3, 2) if clients >= 10 else (1, 1)
    return Report(
        answer=(
            "Without protection the server rebuilt 58 of 60 training images exactly "
            "from single steps.",
            "Secure aggregation took single updates out of its reach at no loss of "
            "accuracy, but the server with 2 colluding clients still learned "
            "something from the sum of the others.",
            "Client-level noise (epsilon 7.9) left no attack above chance and cost "
            "4.6 points of accuracy.",
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
                    (DP, 0.9028, 0.8674, 0.9313),
                    (BOTH, 0.9, 0.8643, 0.929),
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
        privacy=tuple(
            PrivacyRow(
                protection=p,
                unit="client",
                relation="add or remove one",
                delta=1e-5 if p in (DP, BOTH) else None,
                epsilon_upper=7.94 if p in (DP, BOTH) else None,
                accountant="RDP" if p in (DP, BOTH) else None,
                epsilon_lower=0.61 if p == DP else None,
                ceiling=3.42 if p == DP else None,
                confidence=0.95 if p == DP else None,
                n_canaries=128 if p == DP else 0,
            )
            for p in (NONE, DP, BOTH)
        ),
        leakage=leakage(),
        crowd=tuple(
            CrowdRow(
                colluders=a,
                dropouts=d,
                honest=clients - a - d if d <= drop else None,
            )
            for a in range(4)
            for d in range(drop + 2)
            if clients - a - d >= 0
        ),
        cost=(
            CostRow(
                protection=NONE,
                bytes_up=19_240,
                bytes_down=19_240,
                client_cpu_s=0.0031,
                server_cpu_s=0.0004,
            ),
            CostRow(
                protection=SECAGG,
                bytes_up=24_310,
                bytes_down=22_105,
                client_cpu_s=0.0214,
                server_cpu_s=0.131,
            ),
            CostRow(
                protection=DP,
                bytes_up=19_240,
                bytes_down=19_240,
                client_cpu_s=0.0038,
                server_cpu_s=0.0006,
            ),
            CostRow(
                protection=BOTH,
                bytes_up=24_310,
                bytes_down=22_105,
                client_cpu_s=None,
                server_cpu_s=None,
            ),
        ),
        baselines=Baselines(
            pooled=PooledBaseline(value=0.9667, low=0.9426, high=0.9827, n=360),
            local_only=LocalBaseline(mean=0.7413, low=0.6222, high=0.8417, n=clients),
        ),
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
                Series(name=BOTH, x=rounds, y=noised),
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
                Series(name=BOTH, x=fpr, y=guess),
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
