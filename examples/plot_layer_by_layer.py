"""
Which lower layer should a deep model have?
===========================================

Scikit-learn's digits as black and white pixels. ``StackedAutoencoder`` can train its lower layer on its own. Before any
upper layer exists, a bound of that layer shows what log-likelihood the whole stack can reach. This example checks the
bound for lower layers of several sizes, trained for few or many epochs. An RBM is trained on top of each, and the exact
log-likelihood of held-out rows is drawn beside the bounds. The example takes half a minute.
"""

# %%
# ``stop_after=1`` trains the lower layer only. Its bound on held-out rows uses the codes of these rows.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from skdgm import StackedAutoencoder
from skdgm.display import ImageGridDisplay, LayerBoundsDisplay

N_TOP = 30

X_train, X_test = train_test_split((load_digits().data > 7).astype(np.float32), test_size=0.3, random_state=0)
lower_layers = [
    StackedAutoencoder(
        (n_bits, N_TOP), stop_after=1, inference=inference, max_iter=epochs, n_bound_samples=1, random_state=0
    ).fit(X_train)
    for inference in ("rich", "vanilla")
    for n_bits in (6, 9, 12)
    for epochs in (20, 80)
]
bounds = [lower.latent_marginal_bound(X_test) for lower in lower_layers]
lower_bounds = [bound.q_lower_bound for bound in bounds]

# %%
# Train an RBM on top of each lower layer. This is for the comparison; in practice, only the best one needs an RBM.
stacks = [
    StackedAutoencoder(
        (*lower.n_components_, N_TOP), lower=FrozenEstimator(lower), n_bound_samples=1, random_state=0
    ).fit(X_train)
    for lower in lower_layers
]
likelihoods = [stack.score(X_test) for stack in stacks]
best = int(np.argmax(lower_bounds))

print(f"{'inference':<14}{'bits':>6}{'epochs':>8}{'bound':>10}{'log-likelihood':>16}")
for lower, bound, likelihood in zip(lower_layers, lower_bounds, likelihoods, strict=True):
    name = f"{lower.inference:<14}{lower.n_components_[0]:>6}{lower.max_iter:>8}"
    print(f"{name}{bound:>10.2f}{likelihood:>16.2f}")

# %%
# Draw the bounds with the likelihoods, from the best lower bound to the worst, and samples from the stack whose lower
# layer has the best bound.
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), width_ratios=[1.2, 1], layout="constrained")
order = np.argsort(lower_bounds)[::-1]
names = [f"{lower.n_components_[0]} bits, {lower.inference}, {lower.max_iter} epochs" for lower in lower_layers]
reached = [likelihoods[k] for k in order]
LayerBoundsDisplay.from_bounds([names[k] for k in order], [bounds[k] for k in order], log_likelihoods=reached, ax=left)
left.legend(loc="upper left", frameon=False)
left.set_title("bounds of lower layers, and what stacks on them reach")
drawn = stacks[best].sample(64, random_state=0)
ImageGridDisplay.from_data(drawn, image_shape=(8, 8), n_columns=8, ax=right)
right.set_title("samples from the stack with the best bound")
plt.show()
