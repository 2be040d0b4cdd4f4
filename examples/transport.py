"""Secure aggregation over your own transport, with identities and weights.

`Client` and `Server` take bytes and return bytes; the queue below stands for your
network.  embed.py is the same in one call, with all parties in one process.
"""

from collections import deque

import numpy as np

import secagg

LENGTH = 1000
SITES = [f"site-{i}" for i in range(10)]


def local_update(site: str) -> np.ndarray:
    """Stand in for local training: a small vector that depends on the site."""
    rng = np.random.default_rng(SITES.index(site))
    return rng.normal(scale=0.1, size=LENGTH)


def true_mean(survivors: frozenset[str], weights: dict[str, int]) -> np.ndarray:
    """Average the survivors in the clear, to compare with."""
    total = sum(weights[site] for site in survivors)
    terms = [weights[site] * local_update(site) for site in survivors]
    mean: np.ndarray = np.sum(terms, axis=0) / total
    return mean


def over_a_transport(plan: secagg.Plan, weights: dict[str, int]) -> None:
    # Every site has an identity key; all sites know the public halves (the roster).
    keys = {site: secagg.IdentityKey.generate() for site in SITES}
    roster = {site: key.public for site, key in keys.items()}
    policy = secagg.Policy(min_clients=8, min_honest=4, roster=roster)

    # Hash what shaped the update: the model received, the training configuration.
    context = secagg.context(b"hash of the global model", b"hash of the config")

    server = secagg.Server(plan, SITES, session=b"run-7/round-12", length=LENGTH)
    clients = {}
    for site in SITES:
        clients[site] = secagg.Client(plan, policy, me=site, key=keys[site])
        clients[site].offer(local_update(site), weight=weights[site], context=context)

    offline = {"site-3", "site-8"}
    network = deque(server.start())  # (receiver, bytes)
    while not server.finished:
        if not network:
            network.extend(server.timeout())  # the deadline of this step has passed
            continue
        site, message = network.popleft()
        if site in offline:
            continue
        for reply in clients[site].receive(message):
            network.extend(server.receive(site, reply))

    out = server.result()  # or AbortError: too few were left
    error = np.abs(out.mean - true_mean(out.survivors, weights)).max()
    print(f"transport: {len(out.survivors)} survivors, weight {out.weight}")
    print(f"           largest error {error:.1e}, bound {out.max_error:.1e}")


def main() -> None:
    plan = secagg.plan(clients=10, corrupt=2, drop=3)
    print(plan)
    weights = {site: 100 + 7 * i for i, site in enumerate(SITES)}
    over_a_transport(plan, weights)


if __name__ == "__main__":
    main()
