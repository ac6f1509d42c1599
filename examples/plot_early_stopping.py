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
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skdgm import VAE
from skdgm.display import LossCurveDisplay

warnings.simplefilter("ignore", ConvergenceWarning)  # short fits keep the example quick
X_train, X_test = train_test_split(load_wine().data, test_size=0.3, random_state=0)


class BoundOf:
    """Compute the bound of groups of rows after each epoch."""

    def __init__(self, groups):
        self.groups, self.bounds = groups, {name: [] for name in groups}

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            for name, rows in self.groups.items():
                self.bounds[name].append(fitted_estimator.elbo_samples(rows).mean())
        return False  # True would end the fit


# %%
# The same model with and without early stopping; ``weight_prior=None`` makes it eager to overfit. ``"auto"`` ends the
# fit in two steps. When the held-out bound has not risen for ``n_iter_no_change`` epochs, it goes back to the best
# weights and continues with a smaller learning rate, which is the jump in the second picture. The second time, the fit
# ends with the best weights.
EAGER = {"n_components": 8, "weight_prior": None, "max_iter": 250, "n_importance_samples": 10, "random_state": 0}
figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, sharex=True, layout="constrained")
for ax, early_stopping in zip(axes, (False, "auto"), strict=True):
    callback = BoundOf({"training rows": X_train, "other rows": X_test})
    model = VAE(early_stopping=early_stopping, **EAGER).set_callbacks(callback).fit(X_train)
    bound = model.elbo_samples(X_test).mean()
    print(f"early_stopping={early_stopping!r}: {model.n_iter_} epochs, bound of other rows {bound:.1f} nats")
    LossCurveDisplay(callback.bounds).plot(ax)
    ax.axhline(bound, color="gray", linewidth=1, linestyle=":")
    ax.get_legend().remove()
    ax.set_title(f"early_stopping={early_stopping!r}: {model.n_iter_} epochs")
axes[0].legend(loc="lower center", frameon=False)
axes[1].annotate("the fitted model", (250, bound), ha="right", va="bottom", color="gray")
axes[0].set(ylabel="bound, nats per row", ylim=(-32, None))
axes[1].set(ylabel="")
plt.show()
