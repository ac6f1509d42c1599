"""
When should a fit end?
======================

By default, a fit holds out a tenth of the rows and ends when their bound has stopped rising. This example shows what
happens without, on a small table. A callback, a feature of scikit-learn 1.9, watches both fits; it could also end them.
"""

# %%
# Wine has 178 rows. Without early stopping, a model with large layers learns its training rows by heart: their bound
# rises and rises, while that of other rows falls.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skdgm import VAE
from skdgm.display import LossCurveDisplay

warnings.simplefilter("ignore", ConvergenceWarning)  # short fits keep the example quick
X_train, X_test = train_test_split(load_wine().data, test_size=0.3, random_state=0)


class HeldOutScore:
    """Score other rows after each epoch."""

    def __init__(self, X):
        self.X, self.scores = X, []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            self.scores.append(fitted_estimator.elbo_samples(self.X).mean())
        return False  # True would end the fit


# %%
# The same model with and without early stopping; ``weight_prior=None`` makes it eager to overfit.
EAGER = {"n_components": 8, "weight_prior": None, "max_iter": 300, "random_state": 0}
fits = {}
for early_stopping in (False, "auto"):
    callback = HeldOutScore(X_test)
    model = VAE(early_stopping=early_stopping, **EAGER).set_callbacks(callback).fit(X_train)
    fits[early_stopping] = model, callback.scores
    print(f"early_stopping={early_stopping!r}: {model.n_iter_} epochs, {model.elbo_samples(X_test).mean():.2f} nats")

# %%
# ``history_`` is in nats of the standardized columns, so a constant brings the scores of other rows to its scale.
figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, sharex=True, layout="constrained")
for ax, (early_stopping, (model, scores)) in zip(axes, fits.items(), strict=True):
    shift = model.history_["bound"][-1] - model.elbo_samples(X_train).mean()
    LossCurveDisplay({"training rows": model.history_["bound"], "other rows": np.add(scores, shift)}).plot(ax)
    ax.get_legend().remove()
    ax.set_title(f"early_stopping={early_stopping!r}: {model.n_iter_} epochs")
axes[0].legend(loc="lower right", frameon=False)
axes[0].set(ylabel="bound, nats per row")
axes[1].set(ylabel="")
plt.show()
