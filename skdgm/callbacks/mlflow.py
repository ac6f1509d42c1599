"""Log epochs to MLflow."""

from __future__ import annotations

from typing import Any

from skdgm.callbacks._base import EpochCallback, Params, Place, required


class MLflowCallback(EpochCallback):
    """Log the terms of the bound of every epoch, and the parameters, to an MLflow run.

    Inside ``with mlflow.start_run():`` a fit is logged to that run, and the fits of a search to runs below it. Without
    an active run, each fit gets one.

    Parameters
    ----------
    experiment : str, default="Default"
        Name of the experiment for new runs; it is created if there is none. That of an active run takes its place.
    tracking_uri : str or None, default=None
        Where to log; None is where MLflow itself would, such as ``MLFLOW_TRACKING_URI``.

    See Also
    --------
    TensorBoardCallback, WandbCallback : The same for other trackers.

    Notes
    -----
    Metrics are named by estimator and term, such as ``VAE/bound`` and ``VAE/validation_bound``, in nats per row, as in
    ``history_``; steps are epochs. Needs ``mlflow`` or ``mlflow-skinny``, and scikit-learn 1.9 or newer.

    Examples
    --------
    ``VAE().set_callbacks(MLflowCallback("penguins")).fit(X)``
    """

    def __init__(self, experiment: str = "Default", tracking_uri: str | None = None) -> None:
        super().__init__()
        self.experiment, self.tracking_uri = experiment, tracking_uri
        self._active: Any = None

    def setup(self, estimator: Any, context: Any) -> None:
        """Find the active run, and where to log: processes of a search have neither."""
        mlflow = required("mlflow", "mlflow", self)
        self._active, self._uri = mlflow.active_run(), self.tracking_uri or mlflow.get_tracking_uri()

    def _open(self, place: Place, params: Params) -> Any:
        client, active = required("mlflow", "mlflow", self).MlflowClient(self._uri), self._active
        if active is not None and not place.is_part:
            run_id, is_ours = active.info.run_id, False
        else:
            tags = {"mlflow.parentRunId": active.info.run_id} if active is not None else {}
            experiment = active.info.experiment_id if active is not None else self._experiment_id(client)
            run_id, is_ours = client.create_run(experiment, run_name=place.name, tags=tags).info.run_id, True
        for name, value in params.items():
            client.log_param(run_id, name, value)
        return client, run_id, is_ours

    def _experiment_id(self, client: Any) -> str:
        experiment = client.get_experiment_by_name(self.experiment)
        return str(client.create_experiment(self.experiment) if experiment is None else experiment.experiment_id)

    def _log(self, run: Any, values: dict[str, float], epoch: int) -> None:
        client, run_id, _ = run
        for name, value in values.items():
            client.log_metric(run_id, name, value, step=epoch)

    def _close(self, run: Any) -> None:
        client, run_id, is_ours = run
        if is_ours:
            client.set_terminated(run_id)
