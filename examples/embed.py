"""Ten lines of secure aggregation; transport.py has the same over any network."""

import numpy as np

import secagg

plan = secagg.plan(clients=10, corrupt=2, drop=3)
print(plan)
updates = {f"site-{i}": np.full(1000, i / 50) for i in range(10)}  # your vectors
out = secagg.run_round(plan, updates, vanish={"site-3": "masked_input"})
truth = np.mean([updates[name] for name in out.survivors], axis=0)
error = np.abs(out.mean - truth).max()
print(f"{len(out.survivors)} survivors, {out.bytes_up_per_client['site-0']} bytes each")
print(f"error {error:.1e}, bound {out.max_error:.1e}")
