"""Draw the pictures of the landing page and of the tuning guide: `python doc/images/make_pictures.py [name ...]`.

They are committed, so that a build of the documentation does not train the fifty models behind them. The background is
transparent and the text is gray, so that they suit the light and the dark theme.
"""

import sys
import warnings
from pathlib import Path
from runpy import run_path

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC

from skdgm import DLGM, VAE, M2Classifier
from skdgm.datasets import mask_labels

HERE = Path(__file__).parent
GRAY = "#808080"
BLUE, ORANGE, GREEN, PINK = "#0072b2", "#d55e00", "#009e73", "#cc79a7"  # Okabe and Ito: safe for the color-blind
STYLE = {
    "axes.edgecolor": GRAY,
    "axes.labelcolor": GRAY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": GRAY,
    "axes.titlesize": "medium",
    "font.size": 11,
    "legend.frameon": False,
    "legend.labelcolor": GRAY,
    "savefig.transparent": True,
    "xtick.color": GRAY,
    "ytick.color": GRAY,
}

DIGITS, CLASSES = load_digits(return_X_y=True)
DIGITS = DIGITS / 16
FEW = DIGITS[:600]


def manifold():
    """The digits that a VAE decodes from a grid of its two latent dimensions, colored by the class of each."""
    n_rows, n_columns = 10, 18
    vae = VAE(2, random_state=0).fit(DIGITS)
    across, down = (norm.ppf((0.5 + np.arange(n)) / n) for n in (n_columns, n_rows))
    drawn = vae.inverse_transform(np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2))
    colors = plt.get_cmap("tab10")(SVC().fit(DIGITS, CLASSES).predict(drawn))[:, :3]
    figure, axes = plt.subplots(n_rows, n_columns, figsize=(6.6, 3.67))
    for ax, image, color in zip(axes.flat, drawn, colors, strict=True):
        ink = np.broadcast_to([*color, 0], (8, 8, 4)).copy()
        ink[..., 3] = image.reshape(8, 8).clip(0, 1)
        ax.imshow(ink, interpolation="bicubic")
        ax.axis("off")
    figure.subplots_adjust(0, 0, 1, 1, 0.02, 0.02)
    return figure


def landing():
    """The picture of the gallery's example for the landing page, in that example's own style."""
    with plt.style.context("default"):
        return run_path(str(HERE.parent.parent / "examples" / "plot_landing.py"))["figure"]


def n_components():
    """Held-out bound and active dimensions against the number of latent dimensions."""
    sizes = [1, 2, 4, 8, 16, 32]
    fits = [VAE(size, random_state=0).fit(FEW) for size in sizes]
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.7), layout="constrained")
    left.semilogx(sizes, [max(vae.validation_scores_) for vae in fits], "o-", color=BLUE, base=2)
    left.set(title="held-out bound, nats per row", xlabel="n_components")
    right.loglog(sizes, sizes, ":", color=GRAY, base=2, label="all")
    right.loglog(sizes, [vae.active_units_[0] for vae in fits], "o-", color=ORANGE, base=2, label="active")
    right.set(title="active dimensions", xlabel="n_components")
    right.legend()
    for ax in (left, right):
        ax.set_xticks(sizes, sizes)
    right.set_yticks(sizes, sizes)
    return figure


def learning_rate_init():
    """Held-out bound per epoch for three learning rates."""
    figure, ax = plt.subplots(figsize=(7.2, 2.7), layout="constrained")
    for rate, color, at in ((3e-4, BLUE, "low"), (3e-3, GREEN, "default"), (3e-2, ORANGE, "high")):
        vae = VAE(10, learning_rate_init=rate, max_iter=120, random_state=0).fit(FEW)
        ax.plot(
            1 + np.arange(len(vae.validation_scores_)), vae.validation_scores_, color=color, label=f"{rate:g} ({at})"
        )
    ax.set(title="held-out bound, nats per row", xlabel="epoch", ylim=(-28, None))
    ax.legend(title="learning_rate_init", bbox_to_anchor=(1, 0.5), loc="center left").get_title().set_color(GRAY)
    return figure


def weight_prior():
    """Bounds and active dimensions of fits to 200 rows against the standard deviation of the prior on weights."""
    scales = [0.02, 0.05, 0.15, 0.5, 1.5]
    fits = [VAE(10, weight_prior=scale, random_state=0).fit(DIGITS[:200]) for scale in scales]
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.7), layout="constrained")
    for rows, color, name in ((DIGITS[:200], GRAY, "training rows"), (DIGITS[1000:], BLUE, "new rows")):
        left.semilogx(scales, [vae.elbo_samples(rows).mean() for vae in fits], "o-", color=color, label=name)
    left.set(title="bound, nats per row", xlabel="weight_prior")
    left.legend()
    right.semilogx(scales, [vae.active_units_[0] for vae in fits], "o-", color=ORANGE)
    right.set(title="active dimensions of 10", xlabel="weight_prior")
    for ax in (left, right):
        ax.set_xticks(scales, scales)
        ax.minorticks_off()
    return figure


def alpha():
    """Accuracy on unlabeled rows against the weight of the labels."""
    values = [0.01, 0.1, 1, 10, 100]
    seeds = range(2)
    figure, ax = plt.subplots(figsize=(5.6, 2.9), layout="constrained")

    def accuracy(value, seed):
        y_few = mask_labels(CLASSES, 50, random_state=seed)
        return 100 * M2Classifier(alpha=value, max_iter=30, random_state=seed).fit(DIGITS, y_few).score(DIGITS, CLASSES)

    ax.semilogx(values, [np.mean([accuracy(v, s) for s in seeds]) for v in values], "o-", color=BLUE, label="a number")
    ax.axhline(np.mean([accuracy("auto", s) for s in seeds]), ls="--", color=ORANGE, label='"auto"')
    ax.set(title="accuracy on digits with 50 labels, %", xlabel="alpha")
    ax.legend()
    return figure


def kl_warmup():
    """Bound and objective over the epochs of a DLGM, and its active dimensions, without a warm-up and with one."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.7), sharey=True, layout="constrained")
    for ax, warmup in zip(axes, (0, 0.5), strict=True):
        model = DLGM((20, 10, 5), kl_warmup=warmup, max_iter=60, random_state=0).fit(DIGITS)
        epochs = 1 + np.arange(model.n_iter_)
        ax.plot(epochs, model.history_.get("objective", model.history_["bound"]), color=ORANGE, label="objective")
        ax.plot(epochs, model.history_["bound"], color=BLUE, label="bound")
        active = ", ".join(map(str, model.active_units_))
        ax.set(title=f"kl_warmup={warmup}: active {active}", xlabel="epoch", ylim=(-30, -17))
    axes[0].set_ylabel("nats per row")
    axes[1].legend(loc="lower right")
    return figure


PICTURES = (manifold, landing, n_components, learning_rate_init, weight_prior, alpha, kl_warmup)

if __name__ == "__main__":
    plt.rcParams.update(STYLE)
    warnings.simplefilter("ignore", ConvergenceWarning)  # some of them show what a bad choice does
    for picture in PICTURES:
        if not sys.argv[1:] or picture.__name__ in sys.argv[1:]:
            picture().savefig(HERE / f"{picture.__name__}.png", dpi=130)
            print(picture.__name__, flush=True)
