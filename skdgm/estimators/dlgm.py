"""The deep latent Gaussian model as an estimator: a density, a transformer, and an imputer."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from torch import Generator

from skdgm._sklearn_compat import Interval, StrOptions
from skdgm.estimators._latent_density import BaseLatentDensity
from skdgm.estimators._options import layer_sizes, network_args
from skdgm.estimators._presets import BINARY_IMAGES_DLGM, HasPresets, Presets
from skdgm.likelihoods.columns import Groups
from skdgm.models.dlgm import DLGMModule
from skdgm.networks import COVARIANCES
from skdgm.training import Objective


class DLGM(HasPresets, BaseLatentDensity):
    r"""Deep latent Gaussian model: a density model with several layers of latent codes and structured posteriors.

    From the top layer down to the row, each layer transforms the layer above and adds Gaussian noise:

    .. math:: h_L = \xi_L, \quad h_l = T_l(h_{l+1}) + G_l \xi_l, \quad \xi_l \sim N(0, I), \quad x \sim p(x | T_0(h_1)).

    The encoder is :math:`q(\xi | x) = \prod_l N(\xi_l; \mu_l(x), C_l(x))`; under ``inference="top_down"``, the layers
    below the top one depend on those above, too. Fitting maximizes the evidence lower bound
    :math:`E_q[\log p(x | \xi)] - \sum_l KL(q(\xi_l | x) \,\|\, N(0, I)) \le \log p(x)`, or the tighter
    importance-weighted bound. Under ``prior="mixture"``, a mixture of normals takes the place of :math:`N(0, I)` in the
    top layer. With one layer and a diagonal posterior, the model is the ``VAE``.

    Parameters
    ----------
    n_components : int, tuple of int or "auto", default="auto"
        Number of latent dimensions, at least 1. Dimensions that the data do not need become inactive: their posterior
        stays at the prior. Too many dimensions therefore cost mainly time.

        For several layers, give the dimensions of :math:`\xi_1, \dots, \xi_L` from the layer nearest X upward; an int
        is one layer. "auto" is one layer with two thirds of the number of columns, rounded up, but at most a tenth of
        the number of rows, at most 50, and at least 2.

    hidden_layer_sizes : int or sequence of int, default=(200,)
        Sizes of the hidden layers of each encoder network, from its input upward. Larger layers fit finer structure and
        take longer to train. An empty sequence makes the network affine.

        Every decoder network :math:`T_l` mirrors them. Large layers overfit small data sooner.

    network : {"mlp", "conv", "resnet"} or callable, default="mlp"
        The layers next to the columns: the first one of each network that reads rows, and the last one of the decoder.
        "mlp" makes them affine. "conv" makes them convolutional, for images of the form ``image_shape``; a step then
        takes a few times longer. "resnet" makes them residual, for tables; a step takes up to twice as long. The other
        layers, and the affine maps parallel to the networks, stay as they are.

        A callable gets :class:`~skdgm.networks.Sizes` and returns a ``torch.nn.Module`` that maps rows of ``n_inputs``
        cells to rows of ``n_outputs`` cells; its weights are then drawn by ``random_state``.
        :class:`~skdgm.networks.Convolutional` and :class:`~skdgm.networks.Residual` are such callables; they make
        "conv" and "resnet" larger or smaller.

    image_shape : tuple (height, width) or (height, width, channels), or None, default=None
        Form of the image in each row of X: its pixels row by row, with the channels of a pixel side by side. The
        product must be the number of columns. "conv" needs it, callables may read it, and the other networks do not.

        It also tells ``likelihood="auto"`` that the columns are pixels: all are "bernoulli" if X counts as gray images
        or holds only 0 and 1, and otherwise all are "gaussian".

    posterior : {"diagonal", "low_rank", "full"}, default="low_rank"
        Shape of the covariances :math:`C_l`. "low_rank" is the paper's: a precision :math:`D + U U^T`, where U has
        ``rank`` columns; at rank 1 it is about 15% slower than "diagonal". "full" is any covariance, by its Cholesky
        factor: for d dimensions, its network has d (d + 1) / 2 outputs besides the mean.

    rank : int, default=1
        Number of columns of U, from 1 to the dimensions of the smallest layer; only for "low_rank". Larger ranks
        approach "full".

    inference : {"bottom_up", "top_down"}, default="bottom_up"
        What the encoders below the top layer read. "bottom_up" is the paper's: each encoder reads the row only, and the
        layers are independent given the row. With "top_down", the encoder of :math:`\xi_l` also reads
        :math:`T_l(h_{l+1})`, what the layers above predict for its layer, as in the ladder VAE. The posterior is then
        closer to the exact one, in which a lower layer depends on those above, and a step takes up to 40% longer.

        Codes and moments of a lower layer are then those given the means of the layers above. With one layer, which has
        none above it, the two values are the same.

    activation : {"softplus", "relu", "tanh", "silu"}, default="relu"
        Activation function of the hidden layers.

    likelihood : str or list of (str, columns), default="auto"
        Distribution of each column given the latent code. "auto" chooses by the type and the values of a column:
        "bernoulli" for booleans and for 0 and 1, "categorical" for text, for categories, and for numbers with at most
        10 distinct values, "ordinal" for ordered categories, "negative_binomial" for counts from 0 to at most 100,
        "zero_inflated_lognormal" for numbers of which at least 10% are 0 and the others positive, "lognormal" for
        skewed positive numbers, and "gaussian" for all others. ``likelihoods_`` tells what was chosen, and why. In
        tables of gray images, all columns are Bernoulli. X counts as gray images if its non-binary columns, taken
        together, lie in [0, 1] with a largest value of at least 0.5, are exactly 0 or 1 in at least a third of their
        cells, and take at most 256 distinct values. Where "auto" chose, a cell out of range is scored as the nearest
        value in range, minus 10 nats.

        A likelihood given by name applies to all columns. A list of pairs such as ``[("poisson", ["visits"]), ("auto",
        make_column_selector(dtype_exclude="int"))]`` names each column exactly once, by name, position, slice, mask, or
        a function of X, as in ColumnTransformer. Values out of the range of a named likelihood raise ValueError. There
        are also "gaussian_heteroscedastic" (the decoder gives the variance), "student_t" (heavy tails),
        "gaussian_quantile" (normal after a monotone map learned from the column), "poisson", and "multinomial" (rows of
        counts). Columns of real numbers are standardized by their median and a robust standard deviation.

    handle_unknown : {"warn", "error", "ignore"}, default="warn"
        What to do with a category that ``fit`` did not see. "warn" and "ignore" read the cell as missing, at a cost of
        10 nats of density, with and without a warning. "error" raises ValueError.

    dynamic_binarization : bool, default=False
        Whether to draw new 0/1 rows from the gray rows at each visit. It has an effect only if all columns are
        Bernoulli. The draws make steps noisier and regularize mildly.

        If False, the encoder reads the gray rows, and the bound is its exact expectation over the 0/1 rows drawn from
        them. If True, the encoder reads the drawn rows, too.

    input_noise : {"auto", "flip", "dropout", "gaussian"} or None, default="auto"
        Noise on the cells that the encoder reads during training; the bound still scores the clean row. Noise keeps the
        encoder from overfitting. "flip" turns cells from x to 1 - x (only if all columns are Bernoulli), "dropout"
        hides cells, and "gaussian" adds normal noise to the standardized cells. None adds no noise.

        "auto" is "dropout" if ``fit`` finds missing cells, otherwise None. The cells that "dropout" hides are marked as
        missing for the encoder. The rate is drawn for each row, so the encoder learns to read complete rows as well
        as sparse ones: choose "dropout" for imputation.

        Input noise is one of the paper's two regularizers; ``code_noise`` is the other.

    input_noise_level : float or None, default=None
        Strength of ``input_noise``: the largest share of a row's cells that "dropout" hides, in (0, 1); the share of
        cells that "flip" turns, in (0, 1); or the standard deviation of "gaussian", in (0, inf). Larger values
        regularize more, until the codes hold too little information.

        None is 0.5 if ``input_noise="dropout"`` is given, otherwise 0.1.

    code_noise : float, default=0.0
        Standard deviation of normal noise added to the encoder's draws during training, in [0, inf). It is the paper's
        second regularizer, and smooths the decoder. Larger values smooth it more, until the codes say too little.

    n_importance_samples_train : int, default=1
        Number of draws per row in the bound that training maximizes. With 1 it is the evidence lower bound. With
        more it is the importance-weighted bound, which is tighter and lets the posterior fit less closely; time grows
        in proportion. Its gradient is doubly reparametrized (Tucker et al. 2019, arXiv 1810.04152).

    prior : {"mixture", "normal"}, default="mixture"
        Prior p(z) of the latent code, of the top layer's if there are several. "mixture" is a mixture of normals,
        learned with the networks: separate groups of rows get separate codes, and a drawn row belongs to one of them.
        "normal" is N(0, I), as in the paper. The codes of all rows then fill one normal, and rows drawn from between
        two groups belong to neither.

        A prior that counts as one row holds each component near N(0, I).

    n_prior_components : int, default=16
        Number of components of the mixture, at least 1. More components follow
        finer structure of the codes, and cost little time.

    weight_prior : float, "auto" or None, default="auto"
        Standard deviation of the normal prior on the weight matrices of all networks, in (0, inf). Smaller values
        shrink the weights more. None is no prior.

        "auto" is 0.5. With fewer than 16 rows per column it is sqrt(n_samples / (16 n_features)) times 0.5, except for
        the linear maps parallel to the networks: on few rows, the fit stays close to factor analysis.

    kl_warmup : int or float, default=0
        Number of epochs over which the weight of the KL term rises linearly to 1. A float in [0, 1] is a share of
        the planned epochs; 0 is no warm-up.

        A longer warm-up keeps more latent dimensions active, especially in upper layers.

    learning_rate_init : float, default=0.003
        Initial learning rate of Adam, in (0, inf). If it is too large, training diverges: an epoch with non-finite
        values is rolled back and run again at half the rate.

        The variances of Gaussian columns, one number per column for all rows, are learned at 30 times this rate.

    learning_rate : {"linear", "cosine", "constant"}, default="linear"
        Schedule of the learning rate. "linear" keeps it constant for half of the epochs and then lowers it linearly to
        a hundredth, "cosine" lowers it along a cosine to a hundredth, and "constant" keeps it.

        ``early_stopping="auto"`` may cut the rate in addition.

    batch_size : int or "auto", default="auto"
        Number of rows per step. "auto" is a twelfth of the rows, but at least 32 and at most 500. Larger batches make
        an epoch faster, with fewer steps.

    max_iter : int or None, default=None
        Maximum number of epochs, at least 1. A larger number lets a fit that still improves run longer.

        None plans 20,000 steps, whatever the number of rows; early stopping mostly ends the fit sooner. Without
        held-out rows, it plans at most 300 epochs. ``fit`` warns if the bound still rises when training ends.

    tol : float, default=1e-4
        Smallest rise of the validation score, in nats per row, that counts as progress. Larger values end training
        sooner.

    n_iter_no_change : int or None, default=None
        Number of epochs without such progress after which ``early_stopping`` takes effect. More epochs wait out a
        longer plateau, and take longer.

        None is the number of epochs that 1,500 steps take, but at least 5 and at most 40.

    early_stopping : bool or "auto", default="auto"
        Whether to hold out ``validation_fraction`` of the rows and judge training by their bound. "auto" holds rows out
        if there are at least 50. When their bound stops rising, training returns to the best weights and continues at
        0.3 times the learning rate; the second time, it ends. With fewer than 50 rows, no row is held out, and the
        learned variances of Gaussian columns get a prior that counts as one row. True holds rows out of a table of any
        size, and training ends with the best weights the first time that the bound stops rising. False holds no rows
        out and trains for all planned epochs. What is judged and kept are the weights averaged over about 300 steps.

    validation_fraction : float, default=0.1
        Share of the rows to hold out, in (0, 1). A larger share judges training more reliably, and leaves fewer rows to
        train on.

    transform_layers : {"top", "all"}, default="top"
        Layers whose posterior means ``transform`` returns: the top layer, or all layers from X upward.

    warm_start : bool, default=False
        Whether ``fit`` continues from the previous fit: it keeps the weights, likelihoods, and scales instead of
        starting anew.

    verbose : int or bool, default=False
        Whether to print a line per epoch. For a progress bar, use ``set_callbacks(sklearn.callback.ProgressBar())``.

    checkpoint : str, path, Checkpoint or None, default=None
        Folder in which ``fit`` saves its state every five minutes, at the end of an epoch. When the process dies, the
        same call of ``fit`` in a new process continues from there, and ends with the same bits as if nothing had
        happened. A :class:`~skdgm.Checkpoint` sets other intervals, and is needed for a search. None saves nothing.

        ``partial_fit`` does not use it: save the estimator between calls instead.

    device : str, default="auto"
        Device to compute on: "cpu", "cuda", "cuda:1", and so on. "auto" is the first GPU if there is one, otherwise the
        CPU.

    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Floating-point type of the linear layers during training; everything else is float32. "auto" is bfloat16 if the
        device multiplies it in hardware and rows per step times units are at least 40,000 in every hidden layer
        (20,000 in an RBM), where it pays; otherwise float32. The attribute ``precision_`` tells which.

    random_state : int, RandomState instance or None, default=None
        Seeds everything random in ``fit``.

        Results are identical to the bit for the same seed, machine, library versions, and number of threads.

    n_importance_samples : int, default=50
        Number of latent draws per row that estimate a density, at least 1. More draws tighten the estimate and take
        proportionally longer.

        They are used in ``score_samples``, ``elbo_samples``, and ``impute``. A row with missing cells gets four times
        as many, and some more to adapt to it.

    n_refinement_steps : int, default=0
        Steps of gradient ascent by which ``score_samples`` improves the posterior of each row before it draws from it,
        at least 0 (semi-amortized inference). One encoder serves all rows, which leaves a gap to the best posterior of
        each (Cremer et al. 2018, arXiv 1801.03558). More steps tighten the estimate and take proportionally longer. On
        images, 100 steps gain more than using a hundred times as many draws. The fitted model does not change.

        The last digits of a refined score depend on the rows beside it.

    Attributes
    ----------
    module_ : torch.nn.Module
        The trained networks, in evaluation mode.
    likelihood_ : str
        Likelihood of the columns of X, "mixed" if they differ.
    likelihoods_ : list of named tuples (column, likelihood, reason)
        Likelihood of each column of X, and why it was chosen. Columns are given by name if X has column names,
        otherwise by index.
    device_ : str
        Device that holds the module.
    precision_ : {"float32", "bfloat16"}
        Floating-point type of the linear layers during training.
    n_iter_ : int
        Number of epochs that were run.
    history_ : dict of str to list of float
        Terms of the bound per epoch, in nats per row of the standardized columns.

        "reconstruction", "kl", and "bound": their difference with the KL at weight one, or the importance-weighted
        bound. Under a warm-up or a prior on parameters, "objective" is what training maximizes.
    loss_curve_ : list of float
        Negative bound per epoch.
    validation_scores_ : list of float or None
        Bound of the held-out rows per epoch, in the units of ``history_``; None if no rows were held out.
    reconstruction_r2_ : ndarray of shape (n_features,)
        Share of each column's variance that its reconstruction from the posterior mean explains, at most 1, over at
        most 5,000 training rows; NaN for a constant column. It is low for a column that is independent of the others or
        that the model ignores.
    active_units_ : ndarray of shape (n_layers,)
        Number of active latent dimensions per layer: those whose posterior mean varies over the training rows with a
        variance above 0.01.
    n_features_in_ : int
        Number of columns of X in ``fit``.
    feature_names_in_ : ndarray of str of shape (n_features,)
        Names of the columns of X. Only there if all of them are strings.

    See Also
    --------
    VAE : The special case of one layer and a diagonal posterior.
    sklearn.decomposition.FactorAnalysis : The linear special case.

    Notes
    -----
    Log-likelihoods are in nats per row, and densities are those of X in its own units. Gray rows have no density under
    the Bernoulli likelihood: report a negative log-likelihood for 0/1 rows only. NaN marks a missing cell, in ``fit``
    and in all other methods. Bounds and densities are those of the observed cells. The encoder is told which cells are
    missing if ``fit`` found missing cells or made some by ``input_noise="dropout"``. Prediction is deterministic: the
    noise of ``score_samples`` is determined by the seed of the fit and the values of each row.

    Encoders and decoders have an affine map parallel to their hidden layers. With one layer of latent codes, training
    starts at factor analysis of the Gaussian columns: the affine maps hold scikit-learn's solution, and the output of
    the hidden layers is near 0. The encoder reads standardized columns through a smooth clip, linear up to 5 robust
    standard deviations and bounded by 10, which keeps a single cell from outweighing all others. The density is that of
    the unclipped row.

    ``fit`` gives a UserWarning if cells are extremely far from all others in their column, such as -9999 for a missing
    value. These are at most 0.1% of the column's cells (or one cell), more than 1,000 scales from its median, and ten
    times as far from it as the next cell. The fit leaves them out. If more cells hold the same far value, the fit
    warns, but takes it for data. ``fit`` gives a ConvergenceWarning if it ran for at least 30 epochs and ended at a
    bound clearly below that of independent columns.

    References
    ----------
    .. [1] D. J. Rezende, S. Mohamed, D. Wierstra, "Stochastic backpropagation and approximate inference in deep
       generative models", ICML 2014. arXiv:1401.4082
    .. [2] C. K. Sønderby, T. Raiko, L. Maaløe, S. K. Sønderby, O. Winther, "Ladder variational autoencoders", NIPS
       2016. arXiv:1602.02282
    .. [3] Y. Burda, R. Grosse, R. Salakhutdinov, "Importance weighted autoencoders", ICLR 2016. arXiv:1509.00519

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
        **BaseLatentDensity._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left"), tuple, list, np.ndarray, StrOptions({"auto"})],
        "posterior": [StrOptions(set(COVARIANCES))],
        "rank": [Interval(Integral, 1, None, closed="left")],
        "inference": [StrOptions({"bottom_up", "top_down"})],
        "code_noise": [Interval(Real, 0, None, closed="left")],
        "n_importance_samples_train": [Interval(Integral, 1, None, closed="left")],
        "transform_layers": [StrOptions({"top", "all"})],
    }

    _max_components = 50
    _presets: ClassVar[Presets] = {"binary_images": lambda: dict(BINARY_IMAGES_DLGM)}

    def __init__(
        self,
        n_components="auto",
        *,
        hidden_layer_sizes=(200,),
        network="mlp",
        image_shape=None,
        posterior="low_rank",
        rank=1,
        inference="bottom_up",
        activation="relu",
        likelihood="auto",
        handle_unknown="warn",
        dynamic_binarization=False,
        input_noise="auto",
        input_noise_level=None,
        code_noise=0.0,
        n_importance_samples_train=1,
        prior="mixture",
        n_prior_components=16,
        weight_prior="auto",
        kl_warmup=0,
        learning_rate_init=3e-3,
        learning_rate="linear",
        batch_size="auto",
        max_iter=None,
        tol=1e-4,
        n_iter_no_change=None,
        early_stopping="auto",
        validation_fraction=0.1,
        transform_layers="top",
        warm_start=False,
        verbose=False,
        checkpoint=None,
        device="auto",
        precision="auto",
        random_state=None,
        n_importance_samples=50,
        n_refinement_steps=0,
    ) -> None:
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.network = network
        self.image_shape = image_shape
        self.posterior = posterior
        self.rank = rank
        self.inference = inference
        self.activation = activation
        self.likelihood = likelihood
        self.handle_unknown = handle_unknown
        self.dynamic_binarization = dynamic_binarization
        self.input_noise = input_noise
        self.input_noise_level = input_noise_level
        self.code_noise = code_noise
        self.n_importance_samples_train = n_importance_samples_train
        self.prior = prior
        self.n_prior_components = n_prior_components
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
        self.checkpoint = checkpoint
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.n_importance_samples = n_importance_samples
        self.n_refinement_steps = n_refinement_steps

    def _architecture_args(self, n_rows: int, n_columns: int, likelihood: str | Groups) -> dict[str, Any]:
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
            "linear_skip": True,
            "clip_inputs": self._clips_inputs,
            "posterior": self.posterior,
            "rank": int(self.rank) if self.posterior == "low_rank" else 1,
            "top_down": self.inference == "top_down" and len(layers) > 1,
            "missing_indicator": self._missing_indicator(),
            "n_prior_components": int(self.n_prior_components) if self.prior == "mixture" else 0,
            **network_args(self, n_columns),
        }

    def _build(self, architecture: dict[str, Any], rng: Generator | None) -> DLGMModule:
        return DLGMModule(**architecture, rng=rng)

    def _objective(self, *, noisy: bool) -> Objective:
        module, n_draws, code_noise = self.module_, int(self.n_importance_samples_train), self.code_noise * noisy

        def bound(batch, rng):
            return module.bound(batch.x, rng, batch.observed, batch.encoder_input, code_noise)

        def importance_bound(batch, rng):
            return module.importance_bound(batch.x, rng, n_draws, batch.observed, batch.encoder_input, code_noise)

        return bound if n_draws == 1 else importance_bound

    @property
    def _code_indices(self) -> np.ndarray:
        if self.transform_layers not in ("top", "all"):  # set after fit
            raise ValueError(f"transform_layers must be 'top' or 'all', got {self.transform_layers!r}.")
        layers = self.module_.n_latents
        first = sum(layers[:-1]) if self.transform_layers == "top" else 0
        return np.arange(first, sum(layers))
