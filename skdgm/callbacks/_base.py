"""Base class of the callbacks that log epochs: which epochs belong to one run, and what is logged of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from importlib import import_module
from typing import Any, NamedTuple

Params = dict[str, Any]
PLAIN = (bool, int, float, str, tuple, list, type(None))


class Place(NamedTuple):
    """The run to which a task belongs.

    Attributes
    ----------
    key : hashable
        Identifies the run.
    name : str
        Such as "VAE", or "GridSearchCV/3" for the fourth fit of a search.
    group : str
        The same for all fits of a search, and for no other.
    is_part : bool
        Whether it is one of several fits of a search.
    """

    key: Hashable
    name: str
    group: str
    is_part: bool


class EpochCallback(ABC):
    """Abstract base of callbacks that write the terms of the bound of every epoch to a run.

    A run is one fit, with all trainings in it, such as those of an encoder and of a classifier on its codes. In a
    search, each candidate on each split has a run of its own, and the final fit, too.
    """

    max_propagation_depth = None  # set on a pipeline or a search, it reaches the estimators inside

    def __init__(self) -> None:
        self._runs: dict[Hashable, Any] = {}
        self._params: dict[Hashable, Params] = {}

    # --- abstract -----------------------------------------------------------------------------------------------

    @abstractmethod
    def setup(self, estimator: Any, context: Any) -> None:
        """Begin the outermost fit: check that the library is installed."""

    @abstractmethod
    def _open(self, place: Place, params: Params) -> Any:
        """Start a run, and return it."""

    @abstractmethod
    def _log(self, run: Any, values: dict[str, float], epoch: int) -> None:
        """Write the values of an epoch."""

    @abstractmethod
    def _close(self, run: Any) -> None:
        """End a run."""

    # --- scikit-learn's hooks -----------------------------------------------------------------------------------

    def teardown(self, estimator: Any, context: Any) -> None:
        """End the fit, whether it failed or not."""
        self._params.clear()
        while self._runs:
            self._close(self._runs.popitem()[1])

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Remember the parameters of the estimator whose fit is a run."""
        if run_of(context) is context:
            params = {name: value for name, value in estimator.get_params().items() if isinstance(value, PLAIN)}
            self._params[place_of(context).key] = params

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> None:
        """Log an epoch, or close the run of a fit that has ended."""
        place = place_of(context)
        if context.task_name == "epoch" and hasattr(fitted_estimator, "history_"):
            if place.key not in self._runs:
                self._runs[place.key] = self._open(place, self._params.get(place.key, {}))
            self._log(self._runs[place.key], values_of(context.parent, fitted_estimator), context.task_id)
        elif run_of(context) is context:
            self._params.pop(place.key, None)
            if place.key in self._runs:
                self._close(self._runs.pop(place.key))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out open runs, which cannot be pickled: each process opens those of its own fits."""
        return {**vars(self), "_runs": {}}


def run_of(context: Any) -> Any:
    """Return the task that makes up the run of a task: the outermost one, below those whose parts are independent."""
    while context.parent is not None and context.parent.sequential_subtasks:
        context = context.parent
    return context


def place_of(context: Any) -> Place:
    """Return the run of a task."""
    run = run_of(context)
    path, root = [run], run
    while root.parent is not None:
        root = root.parent
        path.insert(0, root)
    numbers = [str(task.task_id) for task in path if task.parent is not None and not task.parent.sequential_subtasks]
    group = f"{root.estimator_name}-{root.init_time:%Y%m%d-%H%M%S}-{root.root_uuid.hex[:6]}"
    key = (root.root_uuid, *(task.task_id for task in path))
    return Place(key, "/".join([root.estimator_name, *numbers]), group, bool(numbers))


def values_of(training: Any, fitted_estimator: Any) -> dict[str, float]:
    """Return the terms of the bound at the end of an epoch, with the name of the estimator, and of its layer."""
    layer = f"/layer {training.task_id + 1}" if training.task_name == "fit-layer" else ""
    values = {name: value[-1] for name, value in fitted_estimator.history_.items() if name}
    if fitted_estimator.validation_scores_:
        values["validation_bound"] = fitted_estimator.validation_scores_[-1]
    return {f"{training.estimator_name}{layer}/{name}": float(value) for name, value in values.items()}


def required(module: str, package: str, owner: Any) -> Any:
    """Import the library of a callback."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{type(owner).__name__} needs {package} ({error}): pip install {package}.") from error
