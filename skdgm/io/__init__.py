"""Save estimators without pickle, and load them without running code that comes with the file."""

from skdgm.io import _foreign
from skdgm.io._file import load, save

__all__ = ["TRUSTED_TYPES", "load", "save"]

#: Names of the types in estimators of skdgm, for skops and MLflow.
#:
#: They are classes of skdgm, and a few of scikit-learn that skops does not trust on its own:
#: ``skops.io.load(path, trusted=TRUSTED_TYPES)``, and
#: ``mlflow.sklearn.log_model(model, name="model", skops_trusted_types=TRUSTED_TYPES)``.
TRUSTED_TYPES = _foreign.TRUSTED_TYPES
