"""The face of M2: the generative semi-supervised classifier."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from skdgm.estimators._semi_supervised import SemiSupervised
from skdgm.models.m2 import M2Module
from skdgm.sources import Source


class M2Classifier(SemiSupervised):
    r"""Semi-supervised classifier by a generative model of class and style (M2).

    The model draws a class, a style and the row, :math:`p(x, y, z) = p(y)\, N(z; 0, I)\, p(x | y, z)`; recognition is
    :math:`q(y, z | x) = q(y | x)\, q(z | x, y)`. Labeled rows raise :math:`-L(x, y) \le \log p(x, y)`, unlabeled ones
    :math:`-U(x) = \sum_y q(y | x)(-L(x, y)) + H(q(y | x)) \le \log p(x)` with the label summed out, and
    :math:`\alpha \log q(y | x)` lets the classifier learn from the labels directly.

    Parameters
    ----------
    n_components : int, default=10
        Dimensions of the style code z, at least 1. What they hold is what the class does not tell (style). Too many
        cost time more than quality.

    hidden_layer_sizes : int or sequence of int, default=(200,)
        Hidden layers of q(y | .), q(z | ., y) and, mirrored, of the decoder. Larger layers fit finer structure and
        take longer.

    activation : {"softplus", "relu", "tanh", "silu"}, default="relu"
        Applied after each hidden layer. "softplus" is the paper's; with "relu" the labels spread in far fewer epochs.

    likelihood : {"auto", "bernoulli", "gaussian", "gaussian_heteroscedastic"}, default="auto"
        p(x | z). "bernoulli" needs X in [0, 1], a grey value is the probability of a 1. "gaussian" learns one variance
        per column, "gaussian_heteroscedastic" has the decoder give it; X is standardised inside for both. "auto" is
        bernoulli if all X lie in [0, 1] and at least a third of the cells are exactly 0 or 1, else gaussian.

    binarize : bool, default=False
        Only with the Bernoulli likelihood. False: recognition sees the grey rows, and the bound is its exact
        expectation over the 0/1 rows drawn from them. True: 0/1 rows are drawn anew at each visit, for recognition
        too, as the original authors did; noisier steps, a mild regulariser.

    alpha : float, default=0.1
        Weight of log q(y | x) of the labeled rows, eq. (9), in [0, inf): what makes the classifier learn from the
        labels directly. Larger trusts the few labels more, smaller the structure of the unlabeled rows. (Not the L2
        penalty that MLPClassifier calls alpha: that is ``weight_prior`` here.)

    alpha_normalization : {"paper", "balanced"}, default="balanced"
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

    max_iter : int, default=70
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
        The trained networks, in evaluation mode.
    likelihood_ : str
        What "auto" chose.
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
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    See Also
    --------
    M1M2Classifier : The same on the codes of a VAE: fewer labels needed on images.
    M1Classifier : Any scikit-learn classifier on the codes of a VAE.

    Notes
    -----
    Log-likelihoods are in nats per row. An epoch costs about n_classes times a VAE's until q(y | x) is certain: on a
    CPU, classes that weigh less than the rounding of a row's sum (1e-9) are left out of it. ``cross_val_score`` and
    ``GridSearchCV`` need ``cv=LabeledStratifiedKFold()`` and ``scoring=make_labeled_scorer("accuracy")`` where y holds
    unlabeled rows: plain ones count these as wrong.

    References
    ----------
    .. [1] D. P. Kingma, D. J. Rezende, S. Mohamed, M. Welling, "Semi-supervised learning with deep generative models",
       NIPS 2014. arXiv:1406.5298

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdgm import M2Classifier
    >>> from skdgm.datasets import mask_labels
    >>> X, y = load_digits(return_X_y=True)
    >>> model = M2Classifier(n_components=5, hidden_layer_sizes=(64,), max_iter=5, random_state=0)
    >>> model.fit(X[:500] / 16, mask_labels(y[:500], 50, random_state=0)).predict(X[500:] / 16).shape
    (1297,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **SemiSupervised._parameter_constraints,
        "binarize": ["boolean"],
    }

    def __init__(
        self,
        n_components=10,
        *,
        hidden_layer_sizes=(200,),
        activation="relu",
        likelihood="auto",
        binarize=False,
        alpha="auto",
        alpha_normalization="balanced",
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
        max_iter=70,
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
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.likelihood = likelihood
        self.binarize = binarize
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
        self._choose_likelihood(rows)
        return self._source(rows, y, weight), rows.shape[1], self._columns.groups

    def _epoch_context(self, context: Any) -> Any:
        return context

    @property
    def _n_fit_tasks(self) -> int:
        return self.max_iter

    @property
    def _model(self) -> M2Module:
        return self.module_
