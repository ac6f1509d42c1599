"""The estimator of the deep latent Gaussian model: density, codes, and missing cells filled."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from torch import Generator

from skdgm._sklearn_compat import Interval, StrOptions
from skdgm.estimators._latent_density import LatentDensity
from skdgm.estimators._options import layer_sizes
from skdgm.likelihoods.columns import Groups
from skdgm.models.dlgm import DLGMModule
from skdgm.networks import COVARIANCES
from skdgm.training import Objective


class DLGM(LatentDensity):
    r"""Deep latent Gaussian model: a density with several layers of codes and structured posteriors.

    Each layer adds Gaussian noise to what the layer above says, from the top down to the row:

    .. math:: h_L = \xi_L, \quad h_l = T_l(h_{l+1}) + G_l \xi_l, \quad \xi_l \sim N(0, I), \quad x \sim p(x | T_0(h_1)).

    Recognition is :math:`q(\xi | x) = \prod_l N(\xi_l; \mu_l(x), C_l(x))`. Fitting maximizes
    :math:`E_q[\log p(x | \xi)] - \sum_l KL(q(\xi_l | x) \,\|\, N(0, I)) \le \log p(x)`, or the tighter
    importance-weighted bound. One layer with a diagonal posterior is the ``VAE``.

    Parameters
    ----------
    n_components : int, tuple of int or "auto", default="auto"
        Dimensions of :math:`\xi_1, \dots, \xi_L`, from the layer nearest X upward, each at least 1; an int is one
        layer. Dimensions that the data do not need become inactive, so too many cost time more than quality. "auto" is
        one layer: two thirds of the columns, rounded up, at most a tenth of the rows and at most 50, but no fewer
        than 2.

    hidden_layer_sizes : int or sequence of int, default=(200,)
        Hidden layers of each recognition network from X upward; every :math:`T_l` mirrors them. Larger layers fit finer
        structure, take longer, and overfit small data sooner. Empty: affine maps.

    posterior : {"diagonal", "low_rank", "full"}, default="low_rank"
        Shape of the :math:`C_l`. "low_rank" is the paper's: a precision :math:`D + U U^T` with ``rank`` columns in U;
        at rank 1 some 15 % slower than "diagonal". "full" gives the Cholesky factor of any covariance: its network
        has d (d + 1) / 2 outputs beside the mean of d dimensions.

    rank : int, default=1
        Columns of U, from 1 to the smallest layer's dimensions; only for "low_rank". Larger tends to "full".

    activation : {"softplus", "relu", "tanh", "silu"}, default="relu"
        Applied after each hidden layer.

    likelihood : {"auto", "bernoulli", "gaussian", "gaussian_heteroscedastic"}, default="auto"
        p(x | h_1). "auto" decides column by column: Bernoulli, never standardized, for a column of only 0 and 1, else
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
        too; noisier steps, a mild regularizer.

    input_noise : {"auto", "flip", "dropout", "gaussian"} or None, default="auto"
        Noise on what recognition reads while training, the paper's regularizer: it keeps recognition from overfitting.
        "auto" is "dropout" where ``fit`` meets missing cells, else none. "dropout" calls cells missing, and tells
        recognition so: each row loses a share of its own, so that recognition reads complete rows and sparse ones. It
        is the choice for imputing. "flip" turns cells from x to 1 - x (only where all columns are Bernoulli),
        "gaussian" adds normal noise to the standardized cells.

    input_noise_level : float or None, default=None
        Largest share of a row's cells that "dropout" hides, in (0, 1); share of cells that "flip" turns, in (0, 1);
        standard deviation for "gaussian", in (0, inf). None: 0.5 for a named "dropout", else 0.1. Larger regularizes
        more, until codes say too little.

    code_noise : float, default=0.0
        Standard deviation of normal noise added to recognition's draws while training, in [0, inf); the paper's second
        regularizer. Smooths the decoder.

    n_importance_samples_train : int, default=1
        Draws per row in the bound that training maximizes. 1 is the evidence lower bound with the exact KL, more the
        importance-weighted bound: tighter, for a posterior that need not fit as closely; time grows in proportion.

    weight_prior : float, "auto" or None, default="auto"
        Standard deviation of the normal prior on weight matrices, recognition's too, in (0, inf); smaller shrinks more.
        "auto" is 0.5, and with fewer than 16 rows per column sqrt(n_samples / (16 n_features)) times that for all but
        the linear maps beside the networks: on few rows the fit stays near factor analysis. None: no prior.

    kl_warmup : int or float, default=0
        Epochs over which the weight of the KL climbs linearly to 1; a float is a share of ``max_iter``, in [0, 1]; 0 is
        none. A longer warm-up keeps more code dimensions alive, those of upper layers above all.

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

    transform_layers : {"top", "all"}, default="top"
        Whose posterior means ``transform`` gives: the top layer's, or those of all layers from X upward.

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
        Per epoch, in nats per row: "reconstruction", "kl", and "bound": their difference with the KL at weight one, or
        the importance-weighted bound. Under a warm-up or a prior on the variances "objective" beside it, what training
        maximizes.
    loss_curve_ : list of float
        Minus the bound per epoch.
    validation_scores_ : list of float or None
        Bound of the rows held out per epoch, in nats per row; None where none was held out.
    active_units_ : ndarray of shape (n_layers,)
        Number of code dimensions in use, layer by layer: the posterior mean varies over the training rows with a
        variance above 0.01.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    See Also
    --------
    VAE : One layer, diagonal posterior.
    sklearn.decomposition.FactorAnalysis : Its linear special case.

    Notes
    -----
    Log-likelihoods are in nats per row, and densities are those of X in its own units. Gray rows under the Bernoulli
    likelihood have no density: quote a negative log-likelihood for 0/1 rows only. NaN marks a missing cell, in ``fit``
    and everywhere else: bounds and densities are those of the observed cells. Recognition is told which cells are
    missing if ``fit`` has met some, or has made some by ``input_noise="dropout"``. Prediction draws nothing at random;
    ``score_samples`` uses noise fixed by the fit's seed and each row's content.

    Recognition networks and decoder add an affine map to their hidden layers. With one layer of codes a fit begins at
    factor analysis of the Gaussian columns: scikit-learn's solution in the affine maps, hidden layers near 0.
    Recognition reads standardized columns through a smooth clip from 5 scales on, so that no cell
    outweighs all others; the density is that of the row as it is.

    Warnings: ``fit`` gives a UserWarning that names cells absurdly far from all others of their column (-9999 for a
    missing value, say): at most 0.1 % of the column's cells, at least one, beyond 1,000 scales and ten times as far off
    as the next cell. The fit leaves them out. A ConvergenceWarning says that a fit of 30
    epochs or more ended at a bound clearly below that of independent columns. ``impute`` gives a UserWarning where
    ``fit`` met no missing cell and made none.

    References
    ----------
    .. [1] D. J. Rezende, S. Mohamed, D. Wierstra, "Stochastic backpropagation and approximate inference in deep
       generative models", ICML 2014. arXiv:1401.4082
    .. [2] Y. Burda, R. Grosse, R. Salakhutdinov, "Importance weighted autoencoders", ICLR 2016. arXiv:1509.00519

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skdgm import DLGM
    >>> X, _ = load_iris(return_X_y=True)
    >>> holes = X.copy()
    >>> holes[::3, 1] = np.nan
    >>> dlgm = DLGM((4, 2), hidden_layer_sizes=(32,), max_iter=20, random_state=0).fit(holes)
    >>> dlgm.transform(X).shape
    (150, 2)
    >>> bool(np.isfinite(dlgm.impute(holes)).all())
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **LatentDensity._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left"), tuple, list, np.ndarray, StrOptions({"auto"})],
        "posterior": [StrOptions(set(COVARIANCES))],
        "rank": [Interval(Integral, 1, None, closed="left")],
        "code_noise": [Interval(Real, 0, None, closed="left")],
        "n_importance_samples_train": [Interval(Integral, 1, None, closed="left")],
        "transform_layers": [StrOptions({"top", "all"})],
    }

    _most_components = 50

    def __init__(
        self,
        n_components="auto",
        *,
        hidden_layer_sizes=(200,),
        posterior="low_rank",
        rank=1,
        activation="relu",
        likelihood="auto",
        dynamic_binarization=False,
        input_noise="auto",
        input_noise_level=None,
        code_noise=0.0,
        n_importance_samples_train=1,
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
        transform_layers="top",
        warm_start=False,
        verbose=False,
        device="auto",
        precision="auto",
        random_state=None,
        n_importance_samples=50,
    ):
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.posterior = posterior
        self.rank = rank
        self.activation = activation
        self.likelihood = likelihood
        self.dynamic_binarization = dynamic_binarization
        self.input_noise = input_noise
        self.input_noise_level = input_noise_level
        self.code_noise = code_noise
        self.n_importance_samples_train = n_importance_samples_train
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
        self.transform_layers = transform_layers
        self.warm_start = warm_start
        self.verbose = verbose
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.n_importance_samples = n_importance_samples

    def _plan(self, n_rows: int, n_columns: int, likelihood: str | Groups) -> dict[str, Any]:
        auto = isinstance(self.n_components, str)
        layers = [self._auto_components(n_rows, n_columns)] if auto else layer_sizes(self.n_components, "n_components")
        if not layers:
            raise ValueError("n_components must name at least one layer, got an empty sequence. Use for example 50.")
        if self.posterior == "low_rank" and self.rank > min(layers):
            raise ValueError(
                f"rank must be at most the dimensions of every layer, got rank={self.rank} for n_components={layers}. "
                "Lower rank, or use posterior='full'."
            )
        return {
            "n_columns": n_columns,
            "n_latents": layers,
            "hidden": layer_sizes(self.hidden_layer_sizes),
            "activation": self.activation,
            "likelihood": likelihood,
            "linear_path": True,
            "clip_inputs": self._reads_clipped,
            "posterior": self.posterior,
            "rank": int(self.rank) if self.posterior == "low_rank" else 1,
            "told_missing": self._must_tell(),
        }

    def _build(self, architecture: dict[str, Any], rng: Generator | None) -> DLGMModule:
        return DLGMModule(**architecture, rng=rng)

    def _objective(self, *, noisy: bool) -> Objective:
        module, n_draws, code_noise = self.module_, self.n_importance_samples_train, self.code_noise * noisy

        def bound(batch, rng):
            return module.bound(batch.x, rng, batch.observed, batch.encoder_input, code_noise)

        def importance_bound(batch, rng):
            return module.importance_bound(batch.x, rng, n_draws, batch.observed, batch.encoder_input, code_noise)

        return bound if n_draws == 1 else importance_bound

    @property
    def _code_indices(self) -> np.ndarray:
        layers = self.module_.n_latents
        first = sum(layers[:-1]) if self.transform_layers == "top" else 0
        return np.arange(first, sum(layers))
