"""Log epochs to Weights & Biases."""

from __future__ import annotations

from typing import Any

from skdgm.callbacks._base import EpochCallback, Params, Place, required


class WandbCallback(EpochCallback):
    """Log the terms of the bound of every epoch, and the parameters, to a run of Weights & Biases.

    Each fit gets a run; those of a search have one group.

    Parameters
    ----------
    **options : dict
        Options of ``wandb.init``, such as ``project="penguins"``, ``mode="offline"``, or ``dir="logs"``.

    See Also
    --------
    TensorBoardCallback, MLflowCallback : The same for other trackers.

    Notes
    -----
    Metrics are named by estimator and term, such as ``VAE/bound`` and ``VAE/validation_bound``, in nats per row, as in
    ``history_``. Each comes with the number of its epoch, ``VAE/epoch``. Needs ``wandb``, and scikit-learn 1.9 or
    newer. With ``mode="offline"``, ``wandb sync`` uploads the files later.

    Examples
    --------
    ``VAE().set_callbacks(WandbCallback(project="penguins", mode="offline")).fit(X)``
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def setup(self, estimator: Any, context: Any) -> None:
        """Check that wandb is installed."""
        required("wandb", "wandb", self)

    def _open(self, place: Place, params: Params) -> Any:
        wandb = required("wandb", "wandb", self)
        options = {"name": place.name, "group": place.group, **self.options}
        return wandb.init(config=params, reinit="create_new", **options)

    def _log(self, run: Any, values: dict[str, float], epoch: int) -> None:
        training = next(iter(values)).rpartition("/")[0]
        run.log({**values, f"{training}/epoch": epoch})

    def _close(self, run: Any) -> None:
        run.finish()
