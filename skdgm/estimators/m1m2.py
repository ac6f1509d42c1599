"""The estimator of M1+M2: a semi-supervised classifier on the codes of a variational auto-encoder."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.frozen import FrozenEstimator
from torch import Tensor

from skdgm._sklearn_compat import Interval, StrOptions
from skdgm.estimators._columns import VARIANCE_FLOOR
from skdgm.estimators._encoder import active_dimensions, fitted_encoder
from skdgm.estimators._semi_supervised import SemiSupervised
from skdgm.estimators.vae import VAE
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
        not fit it again. None is ``VAE(n_components=50, kl_warmup=1.0, max_iter=100)`` on the same device, seeded
        from ``random_state``; the long warm-up keeps more dimensions alive than the best density does.

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

    alpha : float or "auto", default="auto"
        What the labels weigh against the bound in the gradient of q(y | x). "auto": each row's bound counts once, the
        labels' mean log q(y | x) counts 1, the bound's gradient into q(y | x), and that alone, is multiplied by 5 /
        n_active for the n_active code dimensions (by 40 / n_active for gray images), at most 0.3, and the weights of
        q(y | x) have L2 penalties instead of ``weight_prior``: those of the linear part and of the hidden layers as in
        LogisticRegression with C=1, those of the output layer 4 times as large (a quarter of all but the linear part's
        for gray images). A number in [0, inf) is the weight of log q(y | x) in
        eq. (9), under ``alpha_normalization``: larger trusts the few labels more, smaller the structure of the
        unlabeled rows. The paper's value is 0.1, for tens of thousands of unlabeled rows. (Not the L2 penalty that
        MLPClassifier calls alpha.)

    alpha_normalization : {"paper", "balanced"}, default="paper"
        Only for a number as ``alpha``. "paper" is J^alpha literally: each row's bound counts once, and the labels' mean
        log q(y | x) counts alpha times the number of rows. "balanced" gives the mean bounds of labeled and of unlabeled
        rows the same weight, and raises that of the labels alike: it holds on to few labels where the bound of a row is
        large (images).

    class_prior : {"estimated", "uniform", "empirical"}, array-like of shape (n_classes,) or dict, default="estimated"
        p(y), the classes' shares among all rows. q(y | x) is a posterior under it: where labels were drawn in other
        shares, the term that teaches q(y | x) the labels makes up for that. A share that is far off costs accuracy and
        calibration.

        - "estimated": from what q(y | x) finds among the unlabeled rows, anew before each epoch, pulled toward the
          labels' shares [2]_. For labels drawn evenly from each class, at random, or by hand, as long as the labeled
          rows of a class are like its unlabeled ones. Without unlabeled rows it is "empirical".
        - "empirical": the labels' shares. For many labels that were drawn at random; the shares of 20 labels are easily
          off by 0.1. With labels drawn evenly it treats the classes as equally large; with labels picked by hand it is
          right only if they were picked in proportion to the classes.
        - "uniform": all equal. For classes that are known to be about equally large, however the labels were drawn.
        - array-like, in the order of ``classes_``, or dict by label: given (positive, sum 1). The best choice if the
          shares are known, however the labels were drawn. A dict has to name every class that has a label, and may name
          classes that have none yet: they are in ``classes_`` and in ``predict_proba``, unlabeled rows may be theirs,
          and for labeled rows they are wrong answers.

        Except for "estimated", ``fit`` warns where q(y | x) finds quite other shares among the unlabeled rows: more
        than a fifth of them would have to change class.

    class_weight : dict, "balanced" or None, default=None
        Weights of labeled rows by class, as everywhere in scikit-learn. They change what training maximizes, not the
        class prior.

    labeled_batch_size : int or "auto", default="auto"
        Labeled rows per step, beside the unlabeled ones. "auto" takes all up to 100; where most rows are labeled, as
        many as ``batch_size="auto"`` would.

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
        Under ``alpha="auto"`` q(y | x) has penalties of its own instead.

    kl_warmup : int or float, default=0
        Epochs over which the weight of the KL climbs linearly to 1; a float is a share of ``max_iter``, in [0, 1]; 0 is
        none. A warm-up lets the code take over what the class should tell, so that there is none by default.

    learning_rate_init : float, default=0.005
        Step size of Adam, in (0, inf). Too large diverges (non-finite epochs are rolled back and run again at half the
        rate).

    learning_rate : {"linear", "cosine", "constant"}, default="linear"
        Schedule: "linear" stays for half of ``max_iter`` and then falls linearly to a hundredth. The cuts of
        ``early_stopping`` come on top.

    batch_size : int or "auto", default="auto"
        Unlabeled rows per step. An epoch has as many steps as a pass over all rows, labeled and unlabeled, takes.
        "auto" takes a twelfth, between 32 and 500. Larger is faster per epoch and makes fewer steps.

    max_iter : int, default=100
        Epochs at most, at least 1. Reaching it is a normal end.

    tol : float, default=1e-4
        Least gain of the validation bound, in nats per row, that counts as a rise.

    n_iter_no_change : int, default=20
        Epochs without such a gain before the rate is cut, or training stops; see ``early_stopping``.

    early_stopping : bool or "auto", default="auto"
        Whether ``validation_fraction`` of the unlabeled rows (of the labeled ones where these are more) is held out to
        judge the fit by their bound. They are held out of the bound only: every label takes part in the term that
        teaches q(y | x) the labels. "auto" holds rows out from 50 rows on, labeled and unlabeled together. Where their
        bound has stopped rising, the best weights come back and training goes on at 0.3 times the rate; after three
        such cuts it ends. With fewer rows none is held out, and the variances under ``likelihood="gaussian"`` get a
        prior that counts as one row instead. True holds rows out of any table, and training ends the first time that
        their bound has stopped rising, with the best weights. False holds none out and trains for ``max_iter`` epochs.

    validation_fraction : float, default=0.1
        Share of those rows that is held out, in (0, 1).

    warm_start : bool, default=False
        Go on from the last fit's weights, and from its encoder, instead of new ones.

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
        The likelihood p(x | z1) of all columns in the encoder, "mixed" where they differ.
    likelihoods_ : list of named tuples (column, likelihood, reason)
        The likelihood of each column in the encoder, and why it was chosen.
    class_prior_ : ndarray of shape (n_classes,)
        p(y) in the order of ``classes_``: the last estimate, or what was given.
    alpha_ : float
        The weight of the labels, in the sense of eq. (9), in what q(y | x) learns: ``alpha``, or for "auto" the inverse
        of the factor on the bound's gradient into q(y | x).
    device_ : str
        Where the module lies.
    n_iter_ : int
        Epochs run.
    history_ : dict of str to list of float
        Per epoch, in nats per row: "unlabeled_reconstruction", "unlabeled_kl", "unlabeled_label", the same for
        "labeled", "classification", the labels' mean log q(y | x), and "bound": their sum by eq. (8) with the KL at
        weight one, by eq. (9) for a number as ``alpha``. Under ``alpha="auto"`` or a warm-up "objective" beside it,
        what training maximizes: the labels' term counts there, and the warm-up.
    loss_curve_ : list of float
        Minus the bound per epoch.
    validation_scores_ : list of float or None
        Bound of the rows held out per epoch, in nats per row; None where none was held out.
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

    Warnings: ``fit`` gives a UserWarning where numbers given as ``class_prior`` contradict the unlabeled rows.
    The encoder gives those of ``VAE``: of cells absurdly far from all others, and of a fit that has learned nothing.

    References
    ----------
    .. [1] D. P. Kingma, D. J. Rezende, S. Mohamed, M. Welling, "Semi-supervised learning with deep generative models",
       NIPS 2014. arXiv:1406.5298
    .. [2] M. Saerens, P. Latinne, C. Decaestecker, "Adjusting the outputs of a classifier to new a priori
       probabilities: a simple procedure", Neural Computation 14(1), 2002, pp. 21-41.

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
        kl_warmup=0,
        learning_rate_init=5e-3,
        learning_rate="linear",
        batch_size="auto",
        max_iter=100,
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

    def _training_source(
        self, rows: np.ndarray, y: Tensor, weight: Tensor | None, random: np.random.RandomState, context: Any
    ) -> tuple[Source, int, Any]:
        default = VAE(n_components=50, kl_warmup=1.0, max_iter=100, device=self.device)
        goes_on = self._is_warm_start  # the upper weights read the codes of this encoder
        if goes_on:
            self._check_same_width(rows.shape[1])
        else:
            self.encoder_ = fitted_encoder(self.encoder, rows, random, self, context, default)
        self._columns, self.likelihood_ = self.encoder_._columns, self.encoder_.likelihood_
        self.likelihoods_ = self.encoder_.likelihoods_
        mean, sd = self.encoder_._posterior(rows)
        if not goes_on:
            self.active_ = active_dimensions(mean, self.active_threshold)
        mean, sd = mean[:, self.active_], sd[:, self.active_] * self.resample_codes
        source = Codes(self._tensor(mean), self._tensor(sd), y, weight)
        return source, mean.shape[1], self.likelihood

    _max_pull = 0.3  # codes are few
    _starts_linear = False  # of a few draws of them logistic regression knows less than the fit

    def _independent_log_density(self, X: np.ndarray) -> float:
        mean, sd = self.encoder_._posterior(X)
        variance = mean[:, self.active_].var(0) + (sd[:, self.active_] ** 2).mean(0) * self.resample_codes
        return float(-0.5 * np.log(2 * np.pi * np.e * (variance + VARIANCE_FLOOR)).sum())

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
        active = self._tensor(self.active_)
        return M1M2Module(self.encoder_.module_, self.module_, active).to(self.device_)
