"""
A deep model, layer by layer
============================

Scikit-learn's embedded digits as black and white pixels. ``StackedAutoencoder`` trains its lower layer alone; the bound
of that layer says, before any upper layer exists, what the whole can reach. Lower layers of several sizes, trained for
few epochs and for more, are put to the test: each gets its RBM, and the exact log-likelihood of held-out rows is set
beside the bound. Writes ``layer_by_layer.png``. Half a minute.
"""

# %%
# Lower layers only: ``stop_after=1``. Their bound on held-out rows takes their own codes.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from skdgm import StackedAutoencoder
from skdgm.display import ImageGridDisplay

PICTURE = Path(__file__).parent / "layer_by_layer.png" if "__file__" in globals() else Path("layer_by_layer.png")
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
bounds = [lower.score(X_test) for lower in lower_layers]

# %%
# The RBM on top of each, for the comparison's sake: only the best lower layer would need one.
stacks = [
    StackedAutoencoder(
        (*lower.n_components_, N_TOP), lower=FrozenEstimator(lower), n_bound_samples=1, random_state=0
    ).fit(X_train)
    for lower in lower_layers
]
likelihoods = [stack.score(X_test) for stack in stacks]
best = int(np.argmax(bounds))

print(f"{'recognition':<14}{'bits':>6}{'epochs':>8}{'bound':>10}{'log-likelihood':>16}")
for lower, bound, likelihood in zip(lower_layers, bounds, likelihoods, strict=True):
    name = f"{lower.inference:<14}{lower.n_components_[0]:>6}{lower.max_iter:>8}"
    print(f"{name}{bound:>10.2f}{likelihood:>16.2f}")

# %%
# The layer of the best bound, and rows drawn from its stack.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
for inference in ("rich", "vanilla"):
    chosen = [place for place, lower in enumerate(lower_layers) if lower.inference == inference]
    left.plot([bounds[i] for i in chosen], [likelihoods[i] for i in chosen], "o", label=inference)
left.plot(bounds[best], likelihoods[best], "o", markersize=14, fillstyle="none", color="black", label="best bound")
left.axline((bounds[best], bounds[best]), slope=1, color="gray", linewidth=0.8)
left.set(xlabel="bound of the lower layer, nats", ylabel="log-likelihood of the whole, nats", title="held-out digits")
left.legend()
drawn = stacks[best].sample(64, random_state=0)
ImageGridDisplay.from_data(drawn, image_shape=(8, 8), n_columns=8, ax=right)
right.set_title("drawn from the stack of the best bound")
figure.savefig(PICTURE, dpi=100)
print(PICTURE)
