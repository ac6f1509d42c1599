"""The face of M1+M2: a semi-supervised classifier on the codes of a variational auto-encoder."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from torch import Tensor

from skdgm._sklearn_compat import Interval, StrOptions
from skdgm.estimators._semi_supervised import SemiSupervised
from skdgm.estimators.vae import VAE, active_dimensions, fitted_encoder
from skdgm.models.m1m2 import M1M2Module
from skdgm.sources import Codes, Source


class M1M2Classifier(SemiSupervised):
    r"""Semi-supervised classifier by an M2 on the codes of a VAE (M1+M2).

    The model is :math:`p(x, y, z_1, z_2) = p(y)\, N(z_2; 0, I)\, p(z_1 | y, z_2)\, p(x | z_1)`. A VAE learns
    :math:`p(x | z_1)` and :math:`q(z_1 | x)` from all rows; its codes then train an M2, whose rows they are. The steps
    that the paper's own code hides are parameters here, with its values as defaults: only active code dimensions are
    modeled, codes are drawn anew from :math:`q(z_1 | x)` at each visit, and prediction takes their means.

    Parameters
    ----------
    n_components : int, default=10
        Dimensions of the upper code z2, at least 1. What they hold is what the class does not tell (style). Too many
        cost time more than quality.

    encoder : VAE, FrozenEstimator of a fitted VAE, or None, default=None
        The lower layer, cloned and fitted on all rows. A ``FrozenEstimator(vae)`` is used as it is: a search then does
        not fit it again. None is ``VAE(n_components=50, warmup=1.0)`` on the same device, seeded from
        ``random_state``; the long warm-up keeps more dimensions alive than the best density does.

    hidden_layer_sizes : int or sequence of int, default=(200,)
        Hidden layers of q(y | .), q(z2 | ., y) and, mirrored, of the decoder. Larger layers fit finer structure and
        take longer.

    activation : {"softplus", "relu", "tanh", "silu"}, default="relu"
        Applied after each hidden layer. "softplus" is the paper's; with "relu" the labels spread in far fewer epochs.

    likelihood : {"gaussian_heteroscedastic", "gaussian"}, default="gaussian_heteroscedastic"
        p(z1 | y, z2): the variance of each code dimension given by the upper decoder, or one learned number each.

    active_threshold : float, default=0.1
        Code dimensions whose posterior means have a standard deviation above this are modeled, in [0, inf); the others
        carry nothing. They are 0 in ``inverse_transform``, N(0, 1) in ``sample`` and ``score_samples``. If none is
        above, all are kept.

    resample_codes : bool, default=True
        Draw the codes anew at each visit. False trains on their means, which overfits sooner.

    alpha : float, default=1.0
        Weight of log q(y | x) of the labeled rows, eq. (9), in [0, inf): what makes the classifier learn from the
        labels directly. Larger trusts the few labels more, smaller the structure of the unlabeled rows. (Not the L2
        penalty that MLPClassifier calls alpha: that is ``weight_prior`` here.) The paper's value is 0.1, for tens of
        thousands of unlabeled rows.

    alpha_normalization : {"paper", "balanced"}, default="paper"
        "paper" is J^alpha literally: each row's bound counts once, and the labels' mean log q(y | x) counts alpha times
        the number of rows. "balanced" gives the mean bounds of labeled and of unlabeled rows the same weight, and
        raises that of the labels alike: it holds on to few labels where the bound of a row is large (images).

    class_prior : {"uniform", "empirical"}, array-like of shape (n_classes,) or dict, default="uniform"
        p(y). "empirical" takes the labeled rows' shares; an array gives it in the order of ``classes_``, a dict by
        label.

    class_weight : dict, "balanced" or None, default=None
        Weights of labeled rows by class, as everywhere in scikit-learn.

    labeled_batch_size : int or "auto", default="auto"
        Labeled rows per step, beside the unlabeled ones; "auto" takes all up to 100.

    n_enumerated : int or None, default=None
        None sums unlabeled rows' labels over all classes, exactly. An integer sums over that many most probable classes
        and draws one of the rest: unbiased, noisier, and cheaper by about n_classes / (n_enumerated + 1).

    proba_method : {"classifier", "bayes"}, default="classifier"
        "classifier" predicts by q(y | x), fast. "bayes" by p(y | x) from importance-weighted p(x | y) p(y): some
        ``n_importance_samples`` times slower, often better calibrated.

    unlabeled_value : int, float, str or None, default=-1
        Marks unlabeled rows in y; None, NaN and pandas.NA do beside it. None: every row is labeled.

    weight_prior : float or None, default=1.0
        Standard deviation of the normal prior on weight matrices, in (0, inf); smaller shrinks more. None: no prior.

    warmup : int or float, default=0
        Epochs over which the weight of the KL climbs linearly to 1; a float is a share of ``max_iter``, in [0, 1]. A
        warm-up lets the code take over what the class should tell, so that there is none by default.

    learning_rate_init : float, default=0.005
        Step size of Adam, in (0, inf). Too large diverges (non-finite epochs are taken back and the rate halved).

    learning_rate : {"falling", "cosine", "constant"}, default="falling"
        Schedule: "falling" stays for half of ``max_iter`` and then falls linearly to a hundredth.

    batch_size : int or "auto", default="auto"
        Unlabeled rows per step; an epoch is one pass over them. "auto" takes a twelfth, between 32 and 500. Larger
        is faster per epoch and makes fewer steps.

    max_iter : int, default=100
        Epochs, at least 1. Reaching it is the normal end.

    tol : float, default=1e-4
        Least gain of the watched bound, in nats per row, that counts; used with ``early_stopping``.

    n_iter_no_change : int, default=10
        Epochs without such a gain before training stops; used with ``early_stopping``.

    early_stopping : bool, default=False
        Hold ``validation_fraction`` of the unlabeled rows out (of the labeled ones where there are no others), watch
        their bound, stop when it no longer grows and restore the best weights.

    validation_fraction : float, default=0.1
        Share of rows held out, in (0, 1).

    warm_start : bool, default=False
        Go on from the last fit's weights (and scale) instead of new ones.

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
        Draws per row and class in ``score_samples`` and for ``proba_method="bayes"``. More tighten the bound and take
        proportionally longer.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted; never the marker.
    module_ : torch.nn.Module
        The upper layer, in evaluation mode; the lower one is ``encoder_.module_``.
    likelihood_ : str
        Likelihood p(x | z1) of the encoder.
    device_ : str
        Where the module lies.
    n_iter_ : int
        Epochs run.
    history_ : dict of str to list of float
        Per epoch: "bound" (minus the loss, per row) and the means of its terms in nats, "unlabeled_reconstruction",
        "unlabeled_kl", "unlabeled_label", the same for "labeled", and "classification", the mean log q(y | x).
    loss_curve_ : list of float
        Minus the bound per epoch.
    validation_scores_ : list of float or None
        Watched bound per epoch under ``early_stopping``.
    encoder_ : VAE
        The fitted lower layer.
    active_ : ndarray of shape (n_active,)
        Places of the code dimensions that are modeled.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    See Also
    --------
    M2Classifier : The same model directly on the rows.
    VAE : The lower layer.

    Notes
    -----
    The hyper-parameters of the lower layer are the encoder's own, ``encoder__max_iter`` and so on where an encoder is
    given. Log-likelihoods are in nats per row. Cross-validate as for M2Classifier.

    References
    ----------
    .. [1] D. P. Kingma, D. J. Rezende, S. Mohamed, M. Welling, "Semi-supervised learning with deep generative models",
       NIPS 2014. arXiv:1406.5298

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdgm import M1M2Classifier, VAE
    >>> from skdgm.datasets import mask_labels
    >>> X, y = load_digits(return_X_y=True)
    >>> model = M1M2Classifier(encoder=VAE(max_iter=5), n_components=5, max_iter=5, random_state=0)
    >>> model.fit(X[:500] / 16, mask_labels(y[:500], 50, random_state=0)).predict(X[500:] / 16).shape
    (1297,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **SemiSupervised._parameter_constraints,
        "encoder": [VAE, FrozenEstimator, None],
        "likelihood": [StrOptions({"gaussian", "gaussian_heteroscedastic"})],
        "active_threshold": [Interval(Real, 0, None, closed="left")],
        "resample_codes": ["boolean"],
    }

    def __init__(
        self,
        n_components=10,
        *,
        encoder=None,
        hidden_layer_sizes=(200,),
        activation="relu",
        likelihood="gaussian_heteroscedastic",
        active_threshold=0.1,
        resample_codes=True,
        alpha="auto",
        alpha_normalization="paper",
        class_prior="estimated",
        class_weight=None,
        labeled_batch_size="auto",
        n_enumerated=None,
        proba_method="classifier",
        unlabeled_value=-1,
        weight_prior=1.0,
        warmup=0,
        learning_rate_init=5e-3,
        learning_rate="falling",
        batch_size="auto",
        max_iter=100,
        tol=1e-4,
        n_iter_no_change=10,
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
        self.encoder = encoder
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.likelihood = likelihood
        self.active_threshold = active_threshold
        self.resample_codes = resample_codes
        self.alpha = alpha
        self.alpha_normalization = alpha_normalization
        self.class_prior = class_prior
        self.class_weight = class_weight
        self.labeled_batch_size = labeled_batch_size
        self.n_enumerated = n_enumerated
        self.proba_method = proba_method
        self.unlabeled_value = unlabeled_value
        self.weight_prior = weight_prior
        self.warmup = warmup
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

    def _training_source(
        self, rows: np.ndarray, y: Tensor, weight: Tensor | None, random: np.random.RandomState, context: Any
    ) -> tuple[Source, int, Any]:
        default = VAE(n_components=50, warmup=1.0, max_iter=100, device=self.device)
        goes_on = self.warm_start and hasattr(self, "module_")  # the upper weights read the codes of this encoder
        if not goes_on:
            self.encoder_ = fitted_encoder(self.encoder, rows, random, self, context, default)
        self._columns, self.likelihood_ = self.encoder_._columns, self.encoder_.likelihood_
        self.likelihoods_ = self.encoder_.likelihoods_
        mean, sd = self.encoder_._posterior(rows)
        if not goes_on:
            self.active_ = active_dimensions(mean, self.active_threshold)
        mean, sd = mean[:, self.active_], sd[:, self.active_] * self.resample_codes
        source = Codes(torch.from_numpy(mean).to(self.device_), torch.from_numpy(sd).to(self.device_), y, weight)
        return source, mean.shape[1], self.likelihood

    @property
    def _reads_clipped(self) -> bool:
        return False  # codes have a scale of their own

    def _epoch_context(self, context: Any) -> Any:
        task = context.subcontext(task_name="fit-classifier", max_subtasks=self.max_iter)
        return task.call_on_fit_task_begin(estimator=self)

    @property
    def _n_fit_tasks(self) -> int:
        return 1 if isinstance(self.encoder, FrozenEstimator) else 2

    @property
    def _model(self) -> M1M2Module:
        active = torch.tensor(self.active_, device=self.device_)
        return M1M2Module(self.encoder_.module_, self.module_, active).to(self.device_)
