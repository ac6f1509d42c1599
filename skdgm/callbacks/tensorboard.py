"""Log epochs for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skdgm.callbacks._base import EpochCallback, Params, Place, required


class TensorBoardCallback(EpochCallback):
    """Write the terms of the bound of every epoch to event files, which ``tensorboard --logdir`` shows.

    Parameters
    ----------
    log_dir : str or Path, default="runs"
        Folder. Each fit gets a folder in it, named by the estimator and the time; those of a search are in one folder.

    See Also
    --------
    MLflowCallback, WandbCallback : The same for other trackers.

    Notes
    -----
    Scalars are named by estimator and term, such as ``VAE/bound`` and ``VAE/validation_bound``, in nats per row, as in
    ``history_``; steps are epochs. Needs ``tensorboard``, and scikit-learn 1.9 or newer.

    Examples
    --------
    ``VAE().set_callbacks(TensorBoardCallback("runs")).fit(X)``
    """

    def __init__(self, log_dir: str | Path = "runs") -> None:
        super().__init__()
        self.log_dir = log_dir

    def setup(self, estimator: Any, context: Any) -> None:
        """Check that TensorBoard is installed."""
        required("tensorboard", "tensorboard", self)

    def _open(self, place: Place, params: Params) -> Any:
        writer = required("torch.utils.tensorboard", "tensorboard", self)
        number = place.name.partition("/")[2]
        run = writer.SummaryWriter(Path(self.log_dir) / place.group / number)
        run.add_text("params", "\n".join(f"    {name}={value!r}" for name, value in params.items()))
        return run

    def _log(self, run: Any, values: dict[str, float], epoch: int) -> None:
        for name, value in values.items():
            run.add_scalar(name, value, epoch)

    def _close(self, run: Any) -> None:
        run.close()
