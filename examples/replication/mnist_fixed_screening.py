"""What helps DLGM on fixed binarized MNIST: layers, inference, prior, and posterior, by validation rows.

One thing at a time is changed in the first stage of mnist_fixed_nll.py, importance-weighted training with 5 draws, with
12 epochs instead of 300. All runs together take two hours of one core. The bounds are therefore lower than there, and
only their differences count. A bound is the importance-weighted one with 500 draws, over the first 1,000 validation
rows; the test rows are not read. The seed determines the initial weights and all noise. The script resumes where it
stopped.

    SKDGM_DATA=... python examples/replication/mnist_fixed_screening.py
    SKDGM_DATA=... python examples/replication/mnist_fixed_screening.py --changes nothing "mixture prior" --seeds 1
    python examples/replication/mnist_fixed_screening.py --table
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _runs import finished, markdown, requested_changes, run_once
from mnist_fixed_nll import DIAGONAL, FEWER_DRAWS, IMPORTANCE, RANK_ONE, load

from skdgm import DLGM

EXPERIMENT = "mnist_fixed_screening"
N_VALIDATION_ROWS = 1000
N_ELBO_DRAWS = 10
# One layer with a normal prior; the warm-up takes the same share of the epochs as there.
SHORT: dict[str, Any] = IMPORTANCE | DIAGONAL | {"max_iter": 12, "kl_warmup": 0.1}
MIXTURE: dict[str, Any] = {"prior": "mixture"}
TWO_LAYERS: dict[str, Any] = {"n_components": (200, 100)}
TOP_DOWN: dict[str, Any] = TWO_LAYERS | {"inference": "top_down"}
RANK_TEN: dict[str, Any] = RANK_ONE | {"rank": 10}
FULL: dict[str, Any] = {"posterior": "full"}
ONE_DRAW: dict[str, Any] = {"n_importance_samples_train": 1}  # the evidence lower bound, as in the paper
CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "mixture prior": MIXTURE,
    "two layers": TWO_LAYERS,
    # a step of top-down inference takes 1.4 times as long
    "two layers, as many seconds as top-down": TWO_LAYERS | {"max_iter": 17},
    "two layers, top-down": TOP_DOWN,
    "two layers, top-down, mixture prior": TOP_DOWN | MIXTURE,
    "two layers, KL warm-up over half": TWO_LAYERS | {"kl_warmup": 0.5},
    "two layers, top-down, KL warm-up over half": TOP_DOWN | {"kl_warmup": 0.5},
    # the five-draw runs above were trained before the doubly reparametrized gradient, those below with it
    "nothing, doubly reparametrized gradient": {},
    "posterior of rank one": RANK_ONE,
    "posterior of rank ten": RANK_TEN,
    "full posterior": FULL,
    "one draw": ONE_DRAW,
    "one draw, posterior of rank one": ONE_DRAW | RANK_ONE,
    "one draw, posterior of rank ten": ONE_DRAW | RANK_TEN,
    "one draw, full posterior": ONE_DRAW | FULL,
}


def run(name: str, seed: int) -> None:
    """Fit and judge one model, unless it is in the results."""
    params = SHORT | CHANGES[name]

    def work() -> tuple[float, dict[str, Any]]:
        model = DLGM(**params, random_state=seed).fit(load("train"))
        X = load("valid")[:N_VALIDATION_ROWS]
        bound = model.set_params(n_importance_samples=FEWER_DRAWS).score(X)
        elbo = model.set_params(n_importance_samples=N_ELBO_DRAWS).elbo_samples(X).mean()
        facts = {"elbo": round(float(elbo), 3), "active_units": model.active_units_.tolist()}
        return round(bound, 3), facts | {"last_training_bound": round(model.history_["bound"][-1], 3)}

    key = {"experiment": EXPERIMENT, "method": "DLGM", "setting": {"changed": name}, "seed": seed}
    run_once(key | {"metric": "validation_bound_nats"}, params, work)


def table() -> str:
    """The results as a Markdown table."""
    header = ["what is changed", "validation bound, nats", "ELBO, nats", "active units per layer", "seeds", "seconds"]
    rows = []
    for name in CHANGES:
        runs = [run for run in finished(EXPERIMENT) if run["setting"]["changed"] == name]
        if not runs:
            continue
        bounds, elbos, seconds = (
            np.array(values, float)
            for values in zip(*((run["value"], run["facts"]["elbo"], run["seconds"]) for run in runs), strict=True)
        )
        spread = f" ± {bounds.std(ddof=1):.2f}" if len(runs) > 1 else ""
        active = "; ".join(", ".join(map(str, run["facts"]["active_units"])) for run in runs)
        cells = [
            name,
            f"{bounds.mean():.2f}{spread}",
            f"{elbos.mean():.2f}",
            active,
            len(runs),
            f"{seconds.mean():.0f}",
        ]
        rows.append(cells)
    return markdown(header, rows)


def main() -> None:
    """Do the requested runs that are not in the results, then print the table."""
    for seed, name in requested_changes(__doc__, CHANGES, [0]):
        run(name, seed)
    print(table())


if __name__ == "__main__":
    main()
