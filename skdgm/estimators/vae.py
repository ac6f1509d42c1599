"""The estimator of M1: a variational auto-encoder as transformer and density."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Generator

from skdgm.estimators._latent_density import LatentDensity
from skdgm.estimators._options import layer_sizes
from skdgm.likelihoods.columns import Groups
from skdgm.models.vae import VAEModule
from skdgm.training import Objective


class VAE(LatentDensity):
    r"""Variational auto-encoder (M1): a deep latent Gaussian density and its codes.

    The model draws a code and decodes it, :math:`p(x, z) = N(z; 0, I)\, p(x | z)`; recognition is
    :math:`q(z | x) = N(\mu(x), \mathrm{diag}\,\sigma^2(x))`. Fitting maximizes, over all rows, the bound

    .. math:: \log p(x) \ge E_{q(z|x)}[\log p(x | z)] - KL(q(z | x) \,\|\, p(z)).

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Dimensions of the code z, at least 1. Those that the data do not need become inactive (their posterior stays at
        the prior), so too many cost time more than quality. "auto" takes two thirds of the columns, rounded up, at most
        a tenth of the rows and at most 20, but no fewer than 2.

    hidden_layer_sizes : int or sequence of int, default=(200,)
        Hidden layers of the encoder from X upward; the decoder mirrors them. Larger layers fit finer structure, take
        longer, and overfit small data sooner.

    activation : {"softplus", "relu", "tanh", "silu"}, default="relu"
        Applied after each hidden layer.

    likelihood : {"auto", "bernoulli", "gaussian", "gaussian_heteroscedastic"}, default="auto"
        p(x | z). "auto" decides column by column: Bernoulli, never standardized, for a column of only 0 and 1, else
        Gaussian. Gray images are Bernoulli throughout: of the columns that are not 0/1-only all values lie in [0, 1],
        at least a third of the cells are exactly 0 or 1, and there are at most 256 distinct values. ``likelihoods_``
        tells what was chosen. A name holds for all columns. "bernoulli" needs X in [0, 1], a gray value is the
        probability of a 1. "gaussian" learns one variance per column, "gaussian_heteroscedastic" has the decoder give
        it; both standardize columns, by median and a robust standard deviation. Cells out of range are
        an error under a name; where "auto" chose Bernoulli, such a cell is scored as the nearest value in range, less
        10 nats.

    dynamic_binarization : bool, default=False
        Only where all columns are Bernoulli. False: recognition sees the gray rows, and the bound is its exact
        expectation over the 0/1 rows drawn from them. True: 0/1 rows are drawn anew at each visit, for recognition
        too, as the original authors did; noisier steps, a mild regularizer.

    input_noise : {"auto", "flip", "dropout", "gaussian"} or None, default="auto"
        Noise on what recognition reads while training. "auto" is "dropout" where ``fit`` meets missing cells, else
        none. "dropout" calls cells missing, and tells recognition so: each row loses a share of its own, so that
        recognition reads complete rows and sparse ones. It is the choice for imputing. "flip" turns cells from x to
        1 - x (only where all columns are Bernoulli), "gaussian" adds normal noise to the standardized cells. Noise
        keeps recognition from overfitting.

    input_noise_level : float or None, default=None
        Largest share of a row's cells that "dropout" hides, in (0, 1); share of cells that "flip" turns, in (0, 1);
        standard deviation for "gaussian", in (0, inf). None: 0.5 for a named "dropout", else 0.1. Larger regularizes
        more, until codes say too little.

    weight_prior : float, "auto" or None, default="auto"
        Standard deviation of the normal prior on weight matrices, recognition's too, in (0, inf); smaller shrinks more.
        "auto" is 0.5, and with fewer than 16 rows per column sqrt(n_samples / (16 n_features)) times that for all but
        the linear maps beside the networks: on few rows the fit stays near factor analysis. None: no prior.

    kl_warmup : int or float, default=0
        Epochs over which the weight of the KL climbs linearly to 1; a float is a share of ``max_iter``, in [0, 1]; 0 is
        none. A longer warm-up keeps more code dimensions alive.

    learning_rate_init : float, default=0.003
        Step size of Adam, in (0, inf). Too large diverges (non-finite epochs are rolled back and run again at half the
        rate). The variances of Gaussian columns, one number for all rows, learn at 30 times this rate.

    learning_rate : {"linear", "cosine", "constant"}, default="linear"
        Schedule: "linear" stays for half of ``max_iter`` and then falls linearly to a hundredth. The cuts of
        ``early_stopping`` come on top.

    batch_size : int or "auto", default="auto"
        Rows per step. "auto" takes a twelfth of the rows, between 32 and 500. Larger is faster per epoch and makes
        fewer steps.

    max_iter : int, default=300
        Epochs at most, at least 1. Reaching it is a normal end.

    tol : float, default=1e-4
        Least gain of the validation bound, in nats per row, that counts as a rise.

    n_iter_no_change : int, default=20
        Epochs without such a gain before the rate is cut, or training stops; see ``early_stopping``.

    early_stopping : bool or "auto", default="auto"
        Whether ``validation_fraction`` of the rows is held out to judge the fit by their bound. "auto" holds rows out
        from 50 rows on. Where their bound has stopped rising, the best weights come back and training goes on at 0.3
        times the rate; after three such cuts it ends. With fewer rows none is held out, and the variances of Gaussian
        columns get a prior that counts as one row instead. True holds rows out of any table, and training ends the
        first time that their bound has stopped rising, with the best weights. False holds none out and trains for
        ``max_iter`` epochs.

    validation_fraction : float, default=0.1
        Share of rows held out, in (0, 1).

    warm_start : bool, default=False
        Go on from the last fit's weights, likelihoods and scales instead of new ones.

    verbose : int or bool, default=False
        Print a line per epoch. For a bar, use ``set_callbacks(sklearn.callback.ProgressBar())``.

    device : str, default="auto"
        "cpu", "cuda", "cuda:1", ...; "auto" is the first GPU where there is one.

    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Arithmetic of the linear layers while training; all else is float32. "auto" is bfloat16 where the device has
        units for it and batch and layers hold at least 256, so that it pays; else float32.

    random_state : int, RandomState instance or None, default=None
        Seeds everything random in ``fit``. The same seed, machine, versions and thread count give the same bits.

    n_importance_samples : int, default=50
        Draws per row in ``score_samples``, ``elbo_samples`` and ``impute``. More tighten the bound and take
        proportionally longer.

    Attributes
    ----------
    module_ : torch.nn.Module
        The trained networks, in evaluation mode.
    likelihood_ : str
        The likelihood of all columns, "mixed" where they differ.
    likelihoods_ : list of named tuples (column, likelihood, reason)
        The likelihood of each column, and why it was chosen. Columns have their names where X had some, else their
        places.
    device_ : str
        Where the module lies.
    n_iter_ : int
        Epochs run.
    history_ : dict of str to list of float
        Per epoch, in nats per row: "reconstruction", "kl", and "bound", their difference, with the KL at weight one.
        Under a warm-up or a prior on the variances "objective" beside it, what training maximizes.
    loss_curve_ : list of float
        Minus the bound per epoch.
    validation_scores_ : list of float or None
        Bound of the rows held out per epoch, in nats per row; None where none was held out.
    active_units_ : ndarray of shape (1,)
        Number of code dimensions in use: the posterior mean varies over the training rows with a variance above 0.01.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    See Also
    --------
    M1Classifier : A classifier on the codes of a VAE.
    M2Classifier : A model that knows about labels.

    Notes
    -----
    Log-likelihoods are in nats per row, and densities are those of X in its own units. Gray rows under the Bernoulli
    likelihood have no density: quote a negative log-likelihood for 0/1 rows only. NaN marks a missing cell, in ``fit``
    and everywhere else: bounds and densities are those of the observed cells, and recognition is told which are missing
    if ``fit`` has met some, or has made some by ``input_noise="dropout"``. An epoch is linear in rows, columns and
    weights. Prediction draws nothing at random; ``score_samples`` uses noise fixed by the fit's seed and each row's
    content.

    Encoder and decoder add an affine map to their hidden layers. A fit begins at factor analysis of the Gaussian
    columns: scikit-learn's solution in the affine maps, hidden layers near 0. The encoder reads standardized columns
    through a smooth clip from 5 scales on, so that no cell outweighs all others; the density is that of the row as it
    is.

    Warnings: ``fit`` gives a UserWarning that names cells absurdly far from all others of their column (-9999 for a
    missing value, say): at most 0.1 % of the column's cells, at least one, beyond 1,000 scales and ten times as far off
    as the next cell. The fit leaves them out. A ConvergenceWarning says that a fit of 30
    epochs or more ended at a bound clearly below that of independent columns. ``impute`` gives a UserWarning where
    ``fit`` met no missing cell and made none.

    References
    ----------
    .. [1] D. P. Kingma, D. J. Rezende, S. Mohamed, M. Welling, "Semi-supervised learning with deep generative models",
       NIPS 2014. arXiv:1406.5298
    .. [2] D. P. Kingma, M. Welling, "Auto-encoding variational Bayes", ICLR 2014. arXiv:1312.6114
    .. [3] Y. Burda, R. Grosse, R. Salakhutdinov, "Importance weighted autoencoders", ICLR 2016. arXiv:1509.00519

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdgm import VAE
    >>> X, _ = load_iris(return_X_y=True)
    >>> vae = VAE(n_components=2, hidden_layer_sizes=(32,), max_iter=20, random_state=0).fit(X)
    >>> vae.transform(X).shape
    (150, 2)
    >>> vae.score_samples(X).shape
    (150,)
    """

    _most_components = 20

    def __init__(
        self,
        n_components="auto",
        *,
        hidden_layer_sizes=(200,),
        activation="relu",
        likelihood="auto",
        dynamic_binarization=False,
        input_noise="auto",
        input_noise_level=None,
        weight_prior="auto",
        kl_warmup=0,
        learning_rate_init=3e-3,
        learning_rate="linear",
        batch_size="auto",
        max_iter=300,
        tol=1e-4,
        n_iter_no_change=20,
        early_stopping="auto",
        validation_fraction=0.1,
        warm_start=False,
        verbose=False,
        device="auto",
        precision="auto",
        random_state=None,
        n_importance_samples=50,
    ):
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.likelihood = likelihood
        self.dynamic_binarization = dynamic_binarization
        self.input_noise = input_noise
        self.input_noise_level = input_noise_level
        self.weight_prior = weight_prior
        self.kl_warmup = kl_warmup
        self.learning_rate_init = learning_rate_init
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.verbose = verbose
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.n_importance_samples = n_importance_samples

    def _plan(self, n_rows: int, n_columns: int, likelihood: str | Groups) -> dict[str, Any]:
        return {
            "n_columns": n_columns,
            "n_latent": self._auto_components(n_rows, n_columns)
            if self.n_components == "auto"
            else int(self.n_components),
            "hidden": layer_sizes(self.hidden_layer_sizes),
            "activation": self.activation,
            "likelihood": likelihood,
            "linear_path": True,
            "clip_inputs": self._reads_clipped,
            "told_missing": self._must_tell(),
        }

    def _build(self, architecture: dict[str, Any], rng: Generator | None) -> VAEModule:
        return VAEModule(**architecture, rng=rng)

    def _objective(self, *, noisy: bool) -> Objective:
        module = self.module_
        return lambda batch, rng: module.bound(batch.x, rng, batch.observed, batch.encoder_input)

    @property
    def _code_indices(self) -> np.ndarray:
        return np.arange(self.module_.n_latent)

    def _posterior(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of q(z | x), each of shape (n_samples, n_components), float32."""
        q_z = self.module_.q_z
        both = self._apply(lambda x, observed: torch.cat([(q := q_z(x, observed)).mean, q.sd], 1), rows)
        mean, sd = np.split(both, 2, axis=1)
        return mean, sd
