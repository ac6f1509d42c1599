"""Layer-wise training as an estimator: binary autoencoders, trained one after another, and an RBM on top."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Generator, Tensor, nn

from skdgm._sklearn_compat import Interval, StrOptions, _check_feature_names
from skdgm.estimators._arrays import PreservesFloatDtype, tensor_in_tensor_out
from skdgm.estimators._base import BaseDeepGenerative
from skdgm.estimators._callbacks import EpochTasks, fitting
from skdgm.estimators._interrupt import interrupts_end_training
from skdgm.estimators._layerwise import (
    Architecture,
    LayerSettings,
    LayerwiseData,
    LayerwiseTrainer,
    TrainedLayer,
    checked_log_partition,
    column_means,
    encoded,
)
from skdgm.estimators._options import MIN_BFLOAT16, MIN_BFLOAT16_RBM, check_same_architecture, layer_sizes
from skdgm.estimators._stack_bounds import StackBounds
from skdgm.estimators._streams import Table, header_of, look, row_of
from skdgm.models.stack import StackModule, new_layer
from skdgm.sources import CORRUPTIONS, Source
from skdgm.training import History, Term, n_batches

# ``fit`` computes the upper bound of a layer up to this many rows times codes: beyond, EM takes longer than training.
MAX_CELLS_IN_FIT = 1 << 23


class StackedAutoencoder(
    PreservesFloatDtype, ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, StackBounds
):
    r"""Deep generative model of binary codes, trained layer by layer: autoencoders below, an RBM on top.

    The model is :math:`p(x) = \sum p(x | h_1)\, p(h_1 | h_2) \cdots p_{RBM}(h_{L-1}, h_L)`. Each layer is trained as an
    autoencoder :math:`x \to h \to x` on samples of the codes of the layer below. The likelihood that it can reach
    under the best possible upper layers is bounded before these exist,

    .. math:: U = \max_Q E_{x \in D} \log \sum_h p(x | h)\, Q(h)
              \ge E_{x \in D} \log \sum_h p(x | h)\, q_D(h), \quad q_D(h) = E_{x \in D}\, q(h | x),

    and each layer can be chosen before the next one is trained.

    Parameters
    ----------
    n_components : int, sequence of int or "auto", default=(200, 50)
        Numbers of hidden units of the layers from X upward, each at least 1. The last layer is the RBM; an int is the
        RBM alone. Densities are exact if every lower layer has at most 15 units.

        "auto" grows the stack. At each level it trains lower layers of a half and a quarter of the width below, and
        RBMs of that width and of half of it. If the best bound of a lower layer exceeds the likelihood of the best RBM
        by two standard errors, this layer is kept, and the next level follows. Otherwise the best RBM ends the stack,
        which has at most five layers. Bounds and likelihoods are those of held-out rows, ``validation_fraction`` of
        all, that are not trained on.

    inference : {"rich", "vanilla", "rbm"}, default="rich"
        How the layers below the top encode. "rich": :math:`x \to h' \to h \to x`, where the encoder has hidden layers
        (``hidden_layer_sizes``) and weights of its own. The encoder is not part of the generative model, so its size
        does not make that model overfit. "vanilla": :math:`x \to h \to x`, where the encoder has the transposed weights
        of the model. "rbm": each layer is an RBM, as in deep belief networks.

    hidden_layer_sizes : int or sequence of int, default=(200,)
        Sizes of the hidden layers of each encoder network, from its input upward. Larger layers fit finer structure and
        take longer to train. An empty sequence makes the network affine.

        Only for ``inference="rich"``: they are the layers h' between x and h.

    activation : {"softplus", "relu", "tanh", "silu"}, default="relu"
        Activation function of the hidden layers.

    likelihood : {"auto", "bernoulli", "gaussian"}, default="auto"
        Distribution p(x | h_1), the same for all columns. "bernoulli" needs X in [0, 1] and reads a gray value as the
        probability of a 1. "gaussian" learns one variance per column, and standardizes columns by their median and a
        robust standard deviation. If the likelihood is given by name, cells out of range raise ValueError. Upper layers
        are always binary.

        "auto" is Bernoulli for tables of only 0 and 1 and for gray images. It is Gaussian for all other tables, also
        those with both kinds of columns. Tables of gray images are those whose columns with other values than 0 and 1
        lie in [0, 1], have at least a third of their cells at exactly 0 or 1, and take at most 256 distinct values.
        Where "auto" chose Bernoulli, a cell out of range is scored as the nearest value in range, minus 10 nats.

    dynamic_binarization : bool, default=False
        Whether to draw new 0/1 rows from the gray rows at each visit. It has an effect only if all columns are
        Bernoulli. The draws make steps noisier and regularize mildly.

    input_noise : {"auto", "flip", "dropout", "gaussian"} or None, default=None
        Noise on the cells that the encoder reads during training; the bound still scores the clean row. Noise keeps the
        encoder from overfitting. "flip" turns cells from x to 1 - x (only if all columns are Bernoulli), "dropout"
        hides cells, and "gaussian" adds normal noise to the standardized cells. None adds no noise.

        This makes the layers denoising autoencoders. "auto" is "flip" for binary rows, otherwise "gaussian". The cells
        that "dropout" hides are read as 0. RBMs are trained without noise.

    input_noise_level : float, default=0.1
        Strength of ``input_noise``: the largest share of a row's cells that "dropout" hides, in (0, 1); the share of
        cells that "flip" turns, in (0, 1); or the standard deviation of "gaussian", in (0, inf). Larger values
        regularize more, until the codes hold too little information.

    n_gibbs_steps : int, default=1
        Number of Gibbs steps of contrastive divergence in RBMs, at least 1. More steps reduce the bias and take
        proportionally longer.

    persistent : bool, default=False
        Whether the Gibbs chains of RBMs continue from the samples of the last step instead of starting at the rows.
        This reduces the bias if ``rbm_learning_rate_init`` is small enough for the chains to keep up, for example
        0.003.

    n_chains : int or None, default=None
        Number of persistent Gibbs chains of each RBM, at least 1. More chains make steps less noisy and represent more
        modes of the RBM, and take proportionally longer. None is one per row of a step.

        Only for ``persistent=True``.

    n_temperatures : int, default=1
        Number of temperatures of each persistent chain, at least 1. With 2 or more, copies of the chains sample from
        distributions between independent columns and the RBM, and exchange their rows (parallel tempering): chains then
        leave a mode of the RBM more easily. The time of the chains is proportional to this number, so that fewer
        ``n_chains`` may be wanted; neighboring temperatures exchange few rows if there are too few of them.

        Only for ``persistent=True``.

    centered : bool, default=True
        Whether to train RBMs in the parameters of centered variables: the mean row, and the codes of the mean row, are
        subtracted from rows and codes, so that a step of the weights does not shift the biases. The fitted model is an
        ordinary RBM. Training needs fewer epochs, above all where many columns have means far from 1/2. False trains
        the weights and biases of the RBM itself.

    lower : FrozenEstimator or None, default=None
        Fitted StackedAutoencoder, frozen. Its layers, likelihood, and scaling of the columns are kept, and only the
        layers above are trained. ``n_components`` lists all layers, including these.

    stop_after : int or None, default=None
        Number of layers to train, less than the length of ``n_components``. Such a stack has codes and bounds but no
        density, and its ``score`` is the bound of its last layer, by which a search can choose that layer. More layers
        take longer.

    weight_prior : float or None, default=1.0
        Standard deviation of the normal prior on the weight matrices of all networks, in (0, inf). Smaller values
        shrink the weights more. None is no prior.

    learning_rate_init : float, default=0.01
        Initial learning rate of Adam, in (0, inf). If it is too large, training diverges: an epoch with non-finite
        values is rolled back and run again at half the rate.

        This is the rate of autoencoders; RBMs have ``rbm_learning_rate_init``.

    rbm_learning_rate_init : float, default=0.01
        Initial learning rate of Adam for RBMs, whose gradients are noisier; in (0, inf). Larger values train faster,
        until training becomes unstable.

    learning_rate : {"linear", "cosine", "constant"}, default="linear"
        Schedule of the learning rate. "linear" keeps it constant for half of the epochs and then lowers it linearly to
        a hundredth, "cosine" lowers it along a cosine to a hundredth, and "constant" keeps it.

    batch_size : int or "auto", default="auto"
        Number of rows per step. "auto" is a twelfth of the rows, but at least 32 and at most 500. Larger batches make
        an epoch faster, with fewer steps.

    max_iter : int, default=100
        Maximum number of epochs, at least 1. A larger number lets a fit that still improves run longer.

        It applies to each autoencoder; RBMs have ``rbm_max_iter``. Reaching it is a normal end of training.

    rbm_max_iter : int, default=100
        Maximum number of epochs of each RBM, at least 1. More epochs take proportionally longer.

    tol : float, default=1e-4
        Smallest rise of the validation score, in nats per row, that counts as progress. Larger values end training
        sooner.

    n_iter_no_change : int, default=10
        Number of epochs without such progress after which ``early_stopping`` takes effect. More epochs wait out a
        longer plateau, and take longer.

    early_stopping : bool, default=False
        Whether to hold out ``validation_fraction`` of the rows and stop the training of each layer when its validation
        score stops rising. This score is E_q[log p(x | h)] for autoencoders and for RBMs of real-valued rows, and the
        pseudo-likelihood for binary RBMs.

    validation_fraction : float, default=0.1
        Share of the rows to hold out, in (0, 1). A larger share judges training more reliably, and leaves fewer rows to
        train on.

        It is used by ``early_stopping`` and by ``n_components="auto"``.

    warm_start : bool, default=False
        Whether ``fit`` continues from the previous fit: it keeps the weights, likelihoods, and scales instead of
        starting anew.

    verbose : int or bool, default=False
        Whether to print a line per epoch. For a progress bar, use ``set_callbacks(sklearn.callback.ProgressBar())``.

    checkpoint : str, path, Checkpoint or None, default=None
        Folder in which ``fit`` saves its state every five minutes, at the end of an epoch. When the process dies, the
        same call of ``fit`` in a new process continues from there, and ends with the same bits as if nothing had
        happened. A :class:`~skdgm.Checkpoint` sets other intervals, and is needed for a search. None saves nothing.

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

        They are used in ``score_samples`` if the codes cannot be enumerated.

    n_annealing_steps : int, default=1000
        Number of steps of annealed importance sampling of log Z, used if log Z cannot be computed exactly. The estimate
        approaches log Z from below as steps are added; with too few, ``fit`` warns.

    n_annealing_chains : int, default=100
        Number of chains of annealed importance sampling, at least 2. More chains make the estimate more precise, and
        take proportionally longer.

    n_sampling_steps : int, default=1000
        Number of Gibbs steps in ``sample``. More steps bring the draws closer to the model's distribution, and take
        proportionally longer.

    n_bound_samples : int, default=2000
        Number of training rows on which ``layer_bounds_`` are computed, and of held-out rows by which
        ``n_components="auto"`` judges layers. ``fit`` leaves out an upper bound if this number times 2^n_hidden exceeds
        2^23, because it would take longer than training.

    Attributes
    ----------
    module_ : torch.nn.Module
        The trained networks, in evaluation mode.
    n_components_ : list of int
        Numbers of hidden units of the layers in the stack.
    layer_bounds_ : list of LayerBounds
        ``latent_marginal_bound`` of each layer on training rows, as they are drawn for training: binary under
        ``dynamic_binarization``.
    log_partition_ : float or None
        log Z of the RBM; None if the stack stops early.
    log_partition_error_ : float or None
        Standard error of ``log_partition_`` in nats; 0 if log Z is exact.
    is_exact_ : bool
        Whether ``score_samples`` is exact.
    likelihood_ : str
        Likelihood of the columns of X, "mixed" if they differ.

        Here all columns have the same one.
    likelihoods_ : list of named tuples (column, likelihood, reason)
        Likelihood of each column of X, and why it was chosen. Columns are given by name if X has column names,
        otherwise by index.
    device_ : str
        Device that holds the module.
    precision_ : {"float32", "bfloat16"}
        Floating-point type of the linear layers during training.
    n_iter_ : int
        Number of epochs that were run.

        It is the sum over all layers.
    history_ : list of dict of str to list of float
        For each trained layer, its score per epoch, in nats per row. "bound" is E_q[log p(x | h)] for autoencoders and
        for RBMs of real-valued rows, and the pseudo-likelihood for binary RBMs.
    loss_curve_ : list of float
        Negative bound per epoch.

        The epochs of all layers follow one another.
    validation_scores_ : list of list of float, or None
        For each trained layer, the score of the held-out rows per epoch, as in ``history_``; None without
        ``early_stopping``.
    n_features_in_ : int
        Number of columns of X in ``fit``.
    feature_names_in_ : ndarray of str of shape (n_features,)
        Names of the columns of X. Only there if all of them are strings.

    See Also
    --------
    DLGM : Layers of Gaussian latent codes, trained together.
    sklearn.neural_network.BernoulliRBM : A single RBM.

    Notes
    -----
    Log-likelihoods are in nats per row. The time of an epoch is linear in the numbers of rows and weights. Enumerating
    the codes of a layer takes 2^n_hidden terms per row.

    References
    ----------
    .. [1] L. Arnold, Y. Ollivier, "Layer-wise learning of deep generative models", 2012. arXiv:1212.1524
    .. [2] G. E. Hinton, S. Osindero, Y.-W. Teh, "A fast learning algorithm for deep belief nets", Neural Computation
       18, 2006.
    .. [3] T. Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", ICML
       2008.
    .. [4] R. Salakhutdinov, I. Murray, "On the quantitative analysis of deep belief networks", ICML 2008.
    .. [5] G. Desjardins, A. Courville, Y. Bengio, P. Vincent, O. Delalleau, "Tempered Markov chain Monte Carlo for
       training of restricted Boltzmann machines", AISTATS 2010.
    .. [6] J. Melchior, A. Fischer, L. Wiskott, "How to center deep Boltzmann machines", JMLR 17, 2016. arXiv:1311.1354

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdgm import StackedAutoencoder
    >>> X = (load_digits().data > 7).astype(float)
    >>> stack = StackedAutoencoder((12, 20), max_iter=10, rbm_max_iter=10, random_state=0).fit(X)
    >>> stack.transform(X).shape
    (1797, 20)
    >>> stack.is_exact_, stack.score_samples(X).shape
    (True, (1797,))
    >>> bound = stack.latent_marginal_bound(X)
    >>> stack.score(X) <= bound.upper_bound
    True

    Choose the lower layer first, then train the upper layer on it:

    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.model_selection import GridSearchCV
    >>> search = GridSearchCV(
    ...     StackedAutoencoder(stop_after=1, max_iter=5, random_state=0), {"n_components": [(8, 1), (12, 1)]}, cv=2
    ... ).fit(X)
    >>> bottom = search.best_estimator_
    >>> whole = StackedAutoencoder(
    ...     (*bottom.n_components_, 20), lower=FrozenEstimator(bottom), rbm_max_iter=5, random_state=0
    ... ).fit(X)
    >>> whole.n_components_ == [*bottom.n_components_, 20]
    True
    """

    def __init__(
        self,
        n_components=(200, 50),
        *,
        inference="rich",
        hidden_layer_sizes=(200,),
        activation="relu",
        likelihood="auto",
        dynamic_binarization=False,
        input_noise=None,
        input_noise_level=0.1,
        n_gibbs_steps=1,
        persistent=False,
        n_chains=None,
        n_temperatures=1,
        centered=True,
        lower=None,
        stop_after=None,
        weight_prior=1.0,
        learning_rate_init=1e-2,
        rbm_learning_rate_init=1e-2,
        learning_rate="linear",
        batch_size="auto",
        max_iter=100,
        rbm_max_iter=100,
        tol=1e-4,
        n_iter_no_change=10,
        early_stopping=False,
        validation_fraction=0.1,
        warm_start=False,
        verbose=False,
        checkpoint=None,
        device="auto",
        precision="auto",
        random_state=None,
        n_importance_samples=50,
        n_annealing_steps=1000,
        n_annealing_chains=100,
        n_sampling_steps=1000,
        n_bound_samples=2000,
    ) -> None:
        self.n_components = n_components
        self.inference = inference
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.likelihood = likelihood
        self.dynamic_binarization = dynamic_binarization
        self.input_noise = input_noise
        self.input_noise_level = input_noise_level
        self.n_gibbs_steps = n_gibbs_steps
        self.persistent = persistent
        self.n_chains = n_chains
        self.n_temperatures = n_temperatures
        self.centered = centered
        self.lower = lower
        self.stop_after = stop_after
        self.weight_prior = weight_prior
        self.learning_rate_init = learning_rate_init
        self.rbm_learning_rate_init = rbm_learning_rate_init
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.rbm_max_iter = rbm_max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.verbose = verbose
        self.checkpoint = checkpoint
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.n_importance_samples = n_importance_samples
        self.n_annealing_steps = n_annealing_steps
        self.n_annealing_chains = n_annealing_chains
        self.n_sampling_steps = n_sampling_steps
        self.n_bound_samples = n_bound_samples

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseDeepGenerative._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left"), tuple, list, np.ndarray, StrOptions({"auto"})],
        "inference": [StrOptions({"rich", "vanilla", "rbm"})],
        "likelihood": [StrOptions({"auto", "bernoulli", "gaussian"})],
        "dynamic_binarization": ["boolean"],
        "early_stopping": ["boolean"],
        "input_noise": [StrOptions({"auto", *CORRUPTIONS}), None],
        "input_noise_level": [Interval(Real, 0, None, closed="neither")],
        "n_gibbs_steps": [Interval(Integral, 1, None, closed="left")],
        "persistent": ["boolean"],
        "n_chains": [Interval(Integral, 1, None, closed="left"), None],
        "n_temperatures": [Interval(Integral, 1, None, closed="left")],
        "centered": ["boolean"],
        "lower": [FrozenEstimator, None],
        "stop_after": [Interval(Integral, 1, None, closed="left"), None],
        "rbm_learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "rbm_max_iter": [Interval(Integral, 1, None, closed="left")],
        "n_annealing_steps": [Interval(Integral, 1, None, closed="left")],
        "n_annealing_chains": [Interval(Integral, 2, None, closed="left")],
        "n_sampling_steps": [Interval(Integral, 1, None, closed="left")],
        "n_bound_samples": [Interval(Integral, 1, None, closed="left")],
    }

    module_: StackModule
    log_partition_: Any
    _may_mix_likelihoods = False

    # --- fit ----------------------------------------------------------------------------------------------------

    @fitting
    def fit(self, X, y=None):
        """Train the layers from X upward, each on samples of the codes of the layer below.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Values must be in [0, 1] under ``likelihood="bernoulli"``.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        self : estimator
            The fitted estimator.

        Raises
        ------
        ValueError
            For values that are not finite or outside the range of the likelihood, invalid layer sizes, a ``lower`` that
            does not match, a device that is not available, or training that stays non-finite. The estimator is then
            left unchanged.
        KeyboardInterrupt
            If Ctrl-C is pressed before the first epoch of the last layer is complete, outside of training, or twice
            within two seconds. The estimator is then left unchanged.

        Warns
        -----
        UserWarning
            If Ctrl-C ended the training of the last layer after a complete epoch; the estimator is then fitted.
        """
        self._check_chains()
        context = self._init_callback_context(max_subtasks=None)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        rows = self._read(X, reset=True)
        random = self._start()
        lower = self._frozen_lower(X, rows.shape[1])
        self._choose_units(rows, lower)
        shared = self._layerwise_data(rows, random, partial(self._run_layer, random, context, X))
        trainer = LayerwiseTrainer(self._layer_settings(), shared)
        given = lower._copied_layers(self.device_) if lower else []
        layers = trainer.grow(given) if self._grows else trainer.train(given, self._architectures(rows, given))
        self._keep(layers)
        self._measure(shared.source, random, is_whole=self.stop_after is None)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _check_chains(self) -> None:
        """Raise ValueError if chains are described that an RBM does not keep."""
        for name, otherwise in (("n_chains", None), ("n_temperatures", 1)):
            if not self.persistent and getattr(self, name) != otherwise:
                raise ValueError(
                    f"{name} describes chains that continue from step to step and needs persistent=True, got "
                    f"{name}={getattr(self, name)} with persistent=False. Use persistent=True or {name}={otherwise}."
                )

    @property
    def _grows(self) -> bool:
        return isinstance(self.n_components, str) and not self._is_warm_start

    def _frozen_lower(self, X: Any, n_columns: int) -> StackedAutoencoder | None:
        """Return the fitted stack given as ``lower``, or None."""
        if self.lower is None:
            return None
        lower = self.lower.estimator
        if not isinstance(lower, StackedAutoencoder):
            raise ValueError(
                f"lower must freeze a fitted StackedAutoencoder, got a frozen {type(lower).__name__}. Use "
                "FrozenEstimator(stack)."
            )
        check_is_fitted(lower)
        if lower.n_features_in_ != n_columns:
            raise ValueError(f"lower was fitted on {lower.n_features_in_} columns, X has {n_columns}. Fit it on these.")
        _check_feature_names(lower, header_of(X), reset=False)
        return lower

    def _choose_units(self, rows: Table, lower: StackedAutoencoder | None) -> None:
        """Choose the likelihood and units of X, or take those of the given lower layers."""
        if lower is None:
            self._choose_likelihood(rows)
            return
        if self.likelihood not in ("auto", lower.likelihood_):
            raise ValueError(
                f"lower was fitted with likelihood={lower.likelihood_!r}, got likelihood={self.likelihood!r}. Use "
                "'auto', or fit lower again."
            )
        self.likelihood_, self.likelihoods_, self._columns = lower.likelihood_, lower.likelihoods_, lower._columns
        self._columns.check_density_range(look(rows), row_of(rows), of_auto=True)

    def _split_rows(self, n_rows: int, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """Return indices of the training rows, and of the rows held out for early stopping or for judging layers."""
        if self._grows and self.stop_after is not None:
            raise ValueError(
                f"n_components='auto' finds the number of layers, got stop_after={self.stop_after}. Use None, or list "
                "the layers."
            )
        if self._grows and n_rows < 2:
            raise ValueError("n_components='auto' judges layers by held-out rows and needs 2 rows, got 1 sample.")
        return self._split_validation(n_rows, random, wanted=self.early_stopping or self._grows)

    def _sizes(self) -> list[int]:
        """Return the sizes of all layers; a warm start keeps those that "auto" found."""
        named = self.n_components_ if isinstance(self.n_components, str) else self.n_components
        return layer_sizes(named, "n_components")

    def _is_last(self, level: int) -> bool:
        """Tell whether the stack is complete with the layer at this level; unknown, hence False, while it grows."""
        return not self._grows and level + 1 == (self.stop_after or len(self._sizes()))

    # --- layer by layer -----------------------------------------------------------------------------------------

    def _layerwise_data(
        self, rows: Table, random: np.random.RandomState, run_engine: Callable[..., History]
    ) -> LayerwiseData:
        """Collect training and held-out rows, generators, and the weights to continue from."""
        trained, validation = self._split_rows(len(rows), random)
        weights_rng = self._generator(random, "cpu")  # draw weights on the CPU: they are the same for every device
        self._noise_seed = int(random.randint(np.iinfo(np.int32).max))
        return LayerwiseData(
            source=self._source(rows[trained] if len(validation) else rows, binary=self.dynamic_binarization),
            validation=self._source(rows[validation], binary=self.dynamic_binarization) if len(validation) else None,
            device=self.device_,
            weights_rng=weights_rng,
            new_generator=partial(self._generator, random),
            fixed_generator=self._fixed_generator,
            run_engine=run_engine,
            previous=self.module_.layers if self._is_warm_start else (),
        )

    def _architectures(self, rows: Table, given: Sequence[TrainedLayer]) -> list[Architecture]:
        """Return the layers to train on top of the given ones."""
        sizes = self._sizes()
        if not sizes:
            raise ValueError("n_components must name at least one layer, got an empty sequence. Use for example 50.")
        if self.stop_after is not None and self.stop_after >= len(sizes):
            raise ValueError(
                f"stop_after must be less than the number of layers, got stop_after={self.stop_after} for "
                f"n_components={sizes}. Use None for a whole stack."
            )
        below = [trained.n_hidden for trained in given]
        if below != sizes[: len(below)] or len(below) >= (self.stop_after or len(sizes)):
            raise ValueError(
                f"lower has layers of {below}, n_components={sizes} and stop_after={self.stop_after} must start with "
                "these layers and add at least one above them."
            )
        architectures = self._layer_settings().architectures(rows.shape[1], sizes)[len(below) : self.stop_after]
        if self._is_warm_start:
            for old, new in zip(self._architecture["layers"][len(below) :], architectures, strict=False):
                check_same_architecture(old, new, type(self).__name__)
        return architectures

    def _layer_settings(self) -> LayerSettings:
        return LayerSettings(
            inference=self.inference,
            hidden_layer_sizes=layer_sizes(self.hidden_layer_sizes),
            activation=self.activation,
            likelihood=self.likelihood_,
            input_noise=self.input_noise,
            input_noise_level=self.input_noise_level,
            n_gibbs_steps=self.n_gibbs_steps,
            persistent=self.persistent,
            n_chains=self.n_chains,
            n_temperatures=self.n_temperatures,
            centered=self.centered,
            early_stopping=self.early_stopping,
            batch_size=self._batch_size,
            n_bound_samples=self.n_bound_samples,
            n_annealing_steps=self.n_annealing_steps,
            n_annealing_chains=self.n_annealing_chains,
        )

    def _run_layer(
        self,
        random: np.random.RandomState,
        context: Any,
        X: Any,
        level: int,
        architecture: Architecture,
        module: nn.Module,
        term: Term,
        validation: Term | None,
    ) -> History:
        """Train the parameters of one layer, with the learning rate and the number of epochs of its kind."""
        is_rbm = architecture["kind"] == "rbm"
        n_epochs = self.rbm_max_iter if is_rbm else self.max_iter
        rate = "rbm_learning_rate_init" if is_rbm else "learning_rate_init"
        sizes = [architecture["n_columns"], architecture["n_hidden"], *architecture.get("hidden", [])]
        break_even = MIN_BFLOAT16_RBM if is_rbm else MIN_BFLOAT16
        settings = self._settings(term.source.n_rows, n_batches(term), sizes, break_even)
        settings = replace(settings, max_iter=n_epochs, learning_rate_init=getattr(self, rate), n_averaged=0)
        task = context.subcontext(task_name="fit-layer", max_subtasks=n_epochs)
        task.call_on_fit_task_begin(estimator=self, X=X)
        epochs = EpochTasks(self, task, X, part=f" layer {level + 1}", n_epochs=n_epochs)
        with interrupts_end_training(is_final=self._is_last(level)) as interrupt:
            history = self._run_engine(
                module, [term], settings, random, epochs, validation, rate, interrupted=interrupt.is_requested
            )
        interrupt.warn(epochs.title, len(history.terms["bound"]))
        task.call_on_fit_task_end(estimator=self, X=X)
        return history

    def _build(self, architecture: dict[str, Any], rng: Generator | None) -> StackModule:
        return StackModule([new_layer(**layer, rng=rng) for layer in architecture["layers"]])

    # --- fitted attributes --------------------------------------------------------------------------------------

    def _keep(self, layers: Sequence[TrainedLayer]) -> None:
        self.module_ = StackModule([trained.layer for trained in layers]).eval().requires_grad_(False)
        self._architecture = {"layers": [trained.architecture for trained in layers]}
        self.n_components_ = [trained.n_hidden for trained in layers]
        histories = [trained.history for trained in layers if trained.history is not None]
        self.history_ = [history.terms for history in histories]
        self.loss_curve_ = [-bound for history in histories for bound in history.terms["bound"]]
        self.validation_scores_ = [history.validation for history in histories] if self.early_stopping else None
        self.n_iter_ = len(self.loss_curve_)

    def _copied_layers(self, device: str) -> list[TrainedLayer]:
        """Copy the layers for a stack that adds layers above them."""
        layers = zip(self._architecture["layers"], self.module_.layers, strict=True)
        return [TrainedLayer(architecture, deepcopy(layer).to(device)) for architecture, layer in layers]

    @torch.no_grad()
    def _measure(self, source: Source, random: np.random.RandomState, *, is_whole: bool) -> None:
        """Compute log Z of the RBM of a complete stack, and the bounds of every layer on some training rows."""
        rng, layers = self._generator(random), self.module_.layers
        self.log_partition_, self.log_partition_error_ = None, None
        if is_whole:
            mean = column_means(encoded(source, layers[:-1]), rng)
            self.log_partition_, self.log_partition_error_ = checked_log_partition(
                self.module_.top, mean, self.n_annealing_steps, self.n_annealing_chains, rng
            )
        x = source.rows(source.order(rng)[: self.n_bound_samples], rng).x
        self.layer_bounds_ = []
        for level, layer in enumerate(layers):
            can_certify = len(x) << min(layer.n_hidden, 30) <= MAX_CELLS_IN_FIT
            self.layer_bounds_.append(self._bounds(level, x, x, rng, certify=can_certify))
            x = layer.q_h(x).rsample(rng)

    # --- transformer --------------------------------------------------------------------------------------------

    @tensor_in_tensor_out
    def transform(self, X):
        """Encode rows as means of the hidden units of the top layer; each layer reads the means of the layer below.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Any finite values are allowed.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            Probabilities in [0, 1]; float32 for float32 X, otherwise float64; a tensor if X is a tensor.
        """
        self._check_fitted()
        X = self._read(X)
        return self._apply(lambda x, observed: self.module_.mean_codes(x), X).astype(self._feature_dtype(X))

    @tensor_in_tensor_out
    def inverse_transform(self, Z):
        """Decode hidden units of the top layer, layer by layer as means, to the units of X.

        Parameters
        ----------
        Z : array-like or torch.Tensor of shape (n_samples, n_features_out)
            Codes as ``transform`` returns them.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        self._check_fitted()
        return self._decode(self._read_codes(Z), self.module_.mean_rows)

    # --- density ------------------------------------------------------------------------------------------------

    @tensor_in_tensor_out
    def score_samples(self, X, return_std=False):
        """Compute log p(x), exactly or by estimates, in nats per row.

        It is exact (``is_exact_``) if the codes of all lower layers have at most 15 bits and the smaller side of the
        RBM, or its hidden side if the RBM models real numbers, has at most 20 units. Otherwise it contains two
        estimates. Codes drawn from the encoder make it too low on average, the more the encoder differs from the
        posterior. Annealed importance sampling makes log Z too low on average, and log p(x) therefore too high by the
        same amount for all rows; the standard error of log Z is ``log_partition_error_``. It may be far too small for
        an RBM that was trained for long: compare such models only after ``bracket_log_partition``, which estimates log
        Z from above, too.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Values must be in [0, 1] under the Bernoulli likelihood, where only 0/1 rows have a density.
        return_std : bool, default=False
            Whether to return the standard errors from drawing codes, too.

        Returns
        -------
        log_p : ndarray of shape (n_samples,)
            Log-density of X in its own units: it accounts for the standardization.
        std : ndarray of shape (n_samples,)
            Only with ``return_std``. It is 0 if no codes are drawn, and inf for ``n_importance_samples=1``.
        """
        self._check_fitted()
        self._check_complete()
        X = self._columns.check_density_range(np.asarray(self._read(X)))
        n_draws = 1 if self.module_.codes_can_be_enumerated else self._n_draws
        both = self._apply_with_noise(self._density(), X, n_draws).astype(np.float64)
        log_p = both[:, 0] - self._columns.log_scale(np.ones(X.shape, bool)) - self._columns.out_of_range_penalty(X)
        return (log_p, both[:, 1]) if return_std else log_p

    def _density(self) -> Callable[[Tensor, Any, Tensor | None], Tensor]:
        """Return a function of (x, noise, observed) that computes log p(x) and its standard error, (n, 2)."""
        module, log_z, n_draws = self.module_, self.log_partition_, self._n_draws
        if not module.codes_can_be_enumerated:
            return lambda x, rng, _: torch.stack(module.estimated_log_likelihood(x, log_z, n_draws, rng), 1)
        prior = module.log_prior(log_z)
        return lambda x, rng, _: torch.stack([(log_p := module.log_likelihood(x, prior)), torch.zeros_like(log_p)], 1)

    @property
    def is_exact_(self) -> bool:
        """Whether ``score_samples`` is exact: it draws no codes, and log Z is not estimated."""
        self._check_fitted()
        return self._is_complete and self.module_.is_exact

    def score(self, X, y=None) -> float:
        """Average ``score_samples`` over the rows, in nats; for a stack that stops early, the bound of its last layer.

        This bound is ``latent_marginal_bound(X, layer=-1).q_lower_bound``. With it, a search can choose a layer before
        the next one exists.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        float
        """
        self._check_fitted()
        if self._is_complete:
            return float(self.score_samples(X).mean())
        return self.latent_marginal_bound(X, layer=-1, certify=False).q_lower_bound

    def sample(self, n_samples=1, random_state=None) -> Any:
        """Draw rows from p(x): ``n_sampling_steps`` of Gibbs sampling in the RBM, then down layer by layer.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows; each has a Gibbs chain of its own.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Under the Bernoulli likelihood, these are rows of 0 and 1.
        """
        self._check_fitted()
        self._check_complete()
        rng = self._generator(check_random_state(random_state))
        return self._draw(
            n_samples, lambda part: self.module_.sample(part.stop - part.start, self.n_sampling_steps, rng)
        )

    @property
    def _n_features_out(self) -> int:
        return self.n_components_[-1]
