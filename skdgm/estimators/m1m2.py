"""M1+M2 as an estimator: a semi-supervised classifier on the latent codes of a variational autoencoder."""

from __future__ import annotations

import copy
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from torch import Tensor

from skdgm._sklearn_compat import Interval, StrOptions, validate_data
from skdgm.estimators._arrays import as_host_array
from skdgm.estimators._base import in_memory
from skdgm.estimators._columns import VARIANCE_FLOOR
from skdgm.estimators._encoder import (
    NestedDefaults,
    active_dimensions,
    check_code_scales,
    check_encoder,
    check_frozen_names,
    code_scales,
    fitted_encoder,
    updated_encoder,
)
from skdgm.estimators._frames import as_table_or_stream
from skdgm.estimators._partial_labels import BaseIncrementalClassifier
from skdgm.estimators._presets import IMAGES_M1M2, HasPresets, Presets
from skdgm.estimators._semi_supervised import TrainingData
from skdgm.estimators._shards import source_of_shards, training_rows
from skdgm.estimators._streams import Table, header_of
from skdgm.estimators.vae import VAE
from skdgm.models.m1m2 import M1M2Module
from skdgm.sources import Batch, BlockwiseSource, GaussianCodeSource, ResidentSource, Source


class M1M2Classifier(HasPresets, NestedDefaults, BaseIncrementalClassifier):
    r"""Semi-supervised classifier: an M2 on the latent codes of a VAE (M1+M2).

    The model is :math:`p(x, y, z_1, z_2) = p(y)\, N(z_2; 0, I)\, p(z_1 | y, z_2)\, p(x | z_1)`. A VAE learns
    :math:`p(x | z_1)` and :math:`q(z_1 | x)` from all rows. An M2 is then trained on its latent codes instead of on
    rows. Two steps that only the paper's code shows are parameters: only active latent dimensions are modeled, and new
    codes are drawn from :math:`q(z_1 | x)` at each visit. Prediction uses the means of the codes. The M2 reads the
    codes standardized, because those of a VAE with a mixture prior may spread several times as far as N(0, I).

    Parameters
    ----------
    n_components : int, default=10
        Number of latent dimensions, at least 1. Dimensions that the data do not need become inactive: their posterior
        stays at the prior. Too many dimensions therefore cost mainly time.

        The upper code z2 holds what the class does not determine: the style.

    encoder : VAE, FrozenEstimator of a fitted VAE, or None, default=None
        VAE that encodes the rows. It is cloned and fitted on all rows, labeled and unlabeled. A ``FrozenEstimator`` of
        a fitted VAE is used as it is, so a search does not fit it again.

        None is ``VAE()`` on the same device, seeded from ``random_state``.

    hidden_layer_sizes : int or sequence of int, default=(200,)
        Sizes of the hidden layers of each encoder network, from its input upward. Larger layers fit finer structure and
        take longer to train. An empty sequence makes the network affine.

        The encoder networks are those of q(y | z1, x) and q(z2 | z1, y). The decoder mirrors them.

    activation : {"softplus", "relu", "tanh", "silu"}, default="relu"
        Activation function of the hidden layers.

        The paper uses "softplus"; with "relu" q(y | x) learns in far fewer epochs.

    likelihood : {"gaussian_heteroscedastic", "gaussian"}, default="gaussian_heteroscedastic"
        Distribution p(z1 | y, z2) of each latent dimension of the encoder. "gaussian_heteroscedastic" lets the upper
        decoder predict its variance, "gaussian" learns one number. (The likelihood of the columns of X is the parameter
        of ``encoder``.)

    passthrough : bool, default=True
        Whether the classifier reads the columns of X beside the latent codes, standardized as the encoder reads them.

        With False it is the paper's model. On small tables, the codes alone lose some of what labels depend on. With
        True, the standardized columns are kept in memory during ``fit``.

    active_threshold : float, default=0.1
        Standard deviation above which a latent dimension of the encoder is active, in [0, inf); it is that of the
        posterior means over the training rows. The classifier uses the active dimensions only, or all if none is
        active. Larger values keep fewer dimensions.

        Inactive dimensions carry no information. ``inverse_transform`` sets them to their mean under p(z1), from which
        ``sample`` and ``score_samples`` draw them.

    resample_codes : bool, default=True
        Whether to draw new codes from q(z1 | x) at each visit. False trains on their means, which overfits sooner.

    alpha : float or "auto", default="auto"
        Weight of the classification term, the mean log q(y | x) of the labeled rows, relative to the bound. Larger
        values trust the few labels more, smaller ones the structure of the unlabeled rows.

        "auto" does not let the number of latent dimensions outweigh the labels. The objective is the mean bound over
        all rows plus the mean log q(y | x) over labeled rows. The gradient of the bound with respect to q(y | x), and
        only this gradient, is multiplied by 5 / n_active for n_active active dimensions (40 / n_active for gray
        images), at most 0.3. q(y | x) starts as
        logistic regression on the columns and on features of a Gaussian kernel at the labeled rows; cross-validation
        over the labels chooses the strength of both. Its weights have L2 penalties instead of ``weight_prior``: those
        of this logistic regression and, for the output layer of the MLP, 4 times that of ``C=1``. For gray images, the
        penalties of the hidden and output layers are divided by 4.

        A number in [0, inf) is the paper's alpha divided by the number of rows, in eq. (9) of [1]_, under
        ``alpha_normalization="paper"``; the paper uses 0.1. (It is not the L2 penalty that MLPClassifier calls alpha.)

    alpha_normalization : {"paper", "balanced"}, default="paper"
        How to scale a number given as ``alpha``. "paper" is J^alpha of eq. (9) with alpha times the number of rows as
        the paper's alpha: the bound of each row counts once, and the mean log q(y | x) of the labeled rows counts
        ``alpha`` times the number of rows. "balanced" gives the mean bounds of labeled and unlabeled rows the same
        weight, and raises the weight of log q(y | x) in the same proportion as that of the labeled rows: few labels
        keep their influence where the bound of a row is large (images).

    class_prior : {"estimated", "uniform", "empirical"}, array-like of shape (n_classes,) or dict, default="estimated"
        Shares p(y) of the classes among all rows. q(y | x) is the posterior under this prior; if the labels were drawn
        in other shares, the classification term corrects for that. A share that is far off costs accuracy and
        calibration.

        - "estimated": computed again before each epoch from q(y | x) on the unlabeled rows, and pulled toward the
          shares of the labels [2]_. It suits labels drawn evenly from each class, at random, or by hand, as long as the
          labeled rows of a class resemble its unlabeled rows. Without unlabeled rows it is "empirical".
        - "empirical": the shares of the labels. It suits many labels drawn at random; the shares of 20 labels are
          easily off by 0.1. With labels drawn evenly it treats the classes as equally large; with labels picked by hand
          it is right only if they were picked in proportion to the classes.
        - "uniform": equal shares. It suits classes that are known to be about equally large, however the labels were
          drawn.
        - array-like in the order of ``classes_``, or dict by label: the given shares, positive and with sum 1. It is
          the best choice if the shares are known, however the labels were drawn. A dict must name every class that has
          a label, and may name classes without labels. These are in ``classes_`` and in ``predict_proba``; unlabeled
          rows may belong to them, labeled rows never do.

        If shares are given, ``fit`` warns when q(y | x) finds very different shares among the unlabeled rows: more than
        two fifths of these rows would have to change class.

    class_weight : dict, "balanced" or None, default=None
        Weights of the labeled rows by class, as in scikit-learn. They change what training maximizes, not the class
        prior.

    labeled_batch_size : int or "auto", default="auto"
        Number of labeled rows per step, in addition to the unlabeled rows. "auto" is all of them up to 100; if most
        rows are labeled, it is what ``batch_size`` gives for the labeled rows. Larger batches make the gradient of the
        labels less noisy, and steps slower.

    n_enumerated : int or None, default=None
        Number of classes over which training sums the label of an unlabeled row. None sums over all classes, exactly.
        An integer sums over that many most probable classes and samples one of the others: this is unbiased, noisier,
        and cheaper by a factor of about n_classes / (n_enumerated + 1). Larger numbers are less noisy and slower.

    proba_method : {"classifier", "bayes"}, default="classifier"
        Probabilities to predict with. "classifier" uses q(y | x), which is fast. "bayes" uses p(y | x) from
        importance-weighted estimates of p(x | y) p(y), which takes about ``n_importance_samples`` times longer and is
        often better calibrated.

    calibration_cv : int or None, default=None
        Number of folds over the labels, at least 2, that calibrate ``predict_proba``. Each fold trains a model that
        reads the held-out rows without their labels. Then the logits are divided by the temperature that makes these
        labels most probable; a few labels draw it only a little way from 1. ``fit`` trains one model more per fold.
        ``predict`` is not changed. None leaves the probabilities as they are.

    unlabeled_value : int, float, str or None, default=-1
        Label that marks a row as unlabeled. None, NaN, NaT, and pandas.NA in y mark unlabeled rows as well. If this
        parameter is None, every row must be labeled.

    weight_prior : float or None, default=1.0
        Standard deviation of the normal prior on the weight matrices of all networks, in (0, inf). Smaller values
        shrink the weights more. None is no prior.

        Under ``alpha="auto"``, the classifier q(y | x) has L2 penalties of its own instead.

    kl_warmup : int or float, default=0
        Number of epochs over which the weight of the KL term rises linearly to 1. A float in [0, 1] is a share of
        the planned epochs; 0 is no warm-up.

        A longer warm-up lets the latent code explain more of what the class should explain, so the default is none.

    learning_rate_init : float, default=0.005
        Initial learning rate of Adam, in (0, inf). If it is too large, training diverges: an epoch with non-finite
        values is rolled back and run again at half the rate.

        Under ``likelihood="gaussian"``, the variances are learned at 30 times this rate.

    learning_rate : {"linear", "cosine", "constant"}, default="linear"
        Schedule of the learning rate. "linear" keeps it constant for half of the epochs and then lowers it linearly to
        a hundredth, "cosine" lowers it along a cosine to a hundredth, and "constant" keeps it.

        ``early_stopping="auto"`` may cut the rate in addition.

    batch_size : int or "auto", default="auto"
        Number of rows per step. "auto" is a twelfth of the rows, but at least 32 and at most 500. Larger batches make
        an epoch faster, with fewer steps.

        The number counts unlabeled rows. An epoch has as many steps as a pass over all rows, labeled and unlabeled,
        takes.

    max_iter : int or None, default=None
        Maximum number of epochs, at least 1. A larger number lets a fit that still improves run longer.

        None plans 70 epochs, but at least 1,000 and at most 20,000 steps; early stopping may end the fit sooner.
        Without held-out rows, it plans at most 300 epochs. ``fit`` warns if the bound still rises when training ends.

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

        The 50 rows are labeled and unlabeled together. With "auto", rows are held out from the larger of the two
        groups, labeled or unlabeled; with True, from the unlabeled rows if there are any. They are held out of the
        bound only: every label counts in the classification term.

        Gaussian columns are the latent dimensions of the encoder under ``likelihood="gaussian"``.

    validation_fraction : float, default=0.1
        Share of the rows to hold out, in (0, 1). A larger share judges training more reliably, and leaves fewer rows to
        train on.

        It is a share of the unlabeled rows, or of the labeled rows if these are the ones held out.

    warm_start : bool, default=False
        Whether ``fit`` continues from the previous fit: it keeps the weights, likelihoods, and scales instead of
        starting anew.

        It also keeps the encoder, which is not trained again.

    verbose : int or bool, default=False
        Whether to print a line per epoch. For a progress bar, use ``set_callbacks(sklearn.callback.ProgressBar())``.

    checkpoint : str, path, Checkpoint or None, default=None
        Folder in which ``fit`` saves its state every five minutes, at the end of an epoch. When the process dies, the
        same call of ``fit`` in a new process continues from there, and ends with the same bits as if nothing had
        happened. A :class:`~skdgm.Checkpoint` sets other intervals, and is needed for a search. None saves nothing.

        It holds for the encoder, too, unless that has a ``checkpoint`` of its own. ``partial_fit`` does not use it:
        save the estimator between calls instead.

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

        The draws are per row and class, in ``score_samples``, ``elbo_samples``, ``impute``, and under
        ``proba_method="bayes"``. A row with missing cells gets four times as many, and some more to adapt to it.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted, without the marker of unlabeled rows.
    module_ : torch.nn.Module
        The trained networks, in evaluation mode.

        These are the networks of the upper layer; those of the encoder are ``encoder_.module_``.
    likelihood_ : str
        Likelihood of the columns of X, "mixed" if they differ.
    likelihoods_ : list of named tuples (column, likelihood, reason)
        Likelihood of each column of X, and why it was chosen. Columns are given by name if X has column names,
        otherwise by index.
    class_prior_ : ndarray of shape (n_classes,)
        p(y) in the order of ``classes_``: the last estimate, or the given shares.
    temperature_ : float
        Temperature by which the logits of ``predict_proba`` are divided, fitted for each ``proba_method``; 1 without
        ``calibration_cv``. Above 1, the probabilities would have been too close to 0 and 1.
    alpha_ : float
        Weight of the labels in the training of q(y | x), in the sense of eq. (9): ``alpha``, or for "auto" the inverse
        of the factor on the gradient of the bound with respect to q(y | x).
    device_ : str
        Device that holds the module.
    precision_ : {"float32", "bfloat16"}
        Floating-point type of the linear layers during training.
    n_iter_ : int
        Number of epochs that were run.
    history_ : dict of str to list of float
        Terms of the bound per epoch, in nats per row of the standardized columns.

        "unlabeled_reconstruction", "unlabeled_kl", and "unlabeled_label", the same for "labeled", and "classification",
        the mean log q(y | x) of the labeled rows. "bound" is their sum by eq. (8) with the KL at weight one, or by eq.
        (9) for a number as ``alpha``: do not compare it between values of ``alpha``. Under ``alpha="auto"`` or a
        warm-up, "objective" is what training maximizes: it includes the classification term and the warm-up.
    loss_curve_ : list of float
        Negative bound per epoch.
    validation_scores_ : list of float or None
        Bound of the held-out rows per epoch, in the units of ``history_``; None if no rows were held out.
    encoder_ : VAE
        The fitted encoder.
    active_ : ndarray of shape (n_active,)
        Indices of the active latent dimensions of the encoder.
    n_features_in_ : int
        Number of columns of X in ``fit``.
    feature_names_in_ : ndarray of str of shape (n_features,)
        Names of the columns of X. Only there if all of them are strings.

    See Also
    --------
    M2Classifier : The same model on the rows themselves.
    VAE : The encoder.

    Notes
    -----
    The encoder has its own hyper-parameters: ``encoder__max_iter`` and so on.
    Log-likelihoods are in nats per row. Cross-validate as described for M2Classifier.

    ``fit`` gives a UserWarning if numbers given as ``class_prior`` contradict the unlabeled rows. The encoder gives the
    warnings of ``VAE``: of cells extremely far from all others, and of a fit that is worse than independent columns.

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
        **BaseIncrementalClassifier._parameter_constraints,
        "encoder": [VAE, FrozenEstimator, None],
        "likelihood": [StrOptions({"gaussian", "gaussian_heteroscedastic"})],
        "passthrough": ["boolean"],
        "active_threshold": [Interval(Real, 0, None, closed="left")],
        "resample_codes": ["boolean"],
    }

    _presets: ClassVar[Presets] = {
        "images_few_labels": lambda: IMAGES_M1M2 | {"encoder": VAE.from_preset("images")},
    }

    def __init__(
        self,
        n_components=10,
        *,
        encoder=None,
        hidden_layer_sizes=(200,),
        activation="relu",
        likelihood="gaussian_heteroscedastic",
        passthrough=True,
        active_threshold=0.1,
        resample_codes=True,
        alpha="auto",
        alpha_normalization="paper",
        class_prior="estimated",
        class_weight=None,
        labeled_batch_size="auto",
        n_enumerated=None,
        proba_method="classifier",
        calibration_cv=None,
        unlabeled_value=-1,
        weight_prior=1.0,
        kl_warmup=0,
        learning_rate_init=5e-3,
        learning_rate="linear",
        batch_size="auto",
        max_iter=None,
        tol=1e-4,
        n_iter_no_change=None,
        early_stopping="auto",
        validation_fraction=0.1,
        warm_start=False,
        verbose=False,
        checkpoint=None,
        device="auto",
        precision="auto",
        random_state=None,
        n_importance_samples=50,
    ) -> None:
        self.n_components = n_components
        self.encoder = encoder
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.likelihood = likelihood
        self.passthrough = passthrough
        self.active_threshold = active_threshold
        self.resample_codes = resample_codes
        self.alpha = alpha
        self.alpha_normalization = alpha_normalization
        self.class_prior = class_prior
        self.class_weight = class_weight
        self.labeled_batch_size = labeled_batch_size
        self.n_enumerated = n_enumerated
        self.proba_method = proba_method
        self.calibration_cv = calibration_cv
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
        self.checkpoint = checkpoint
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.n_importance_samples = n_importance_samples

    _needed_when_fitted = (
        *BaseIncrementalClassifier._needed_when_fitted,
        "encoder_",
        "active_",
        "_code_center",
        "_code_scale",
    )

    def _check_state(self) -> None:
        check_encoder(self)
        check_code_scales(self)
        super()._check_state()

    @property
    def _n_columns_of_module(self) -> int:
        return len(self.active_)

    def _nested_defaults(self) -> dict[str, Any]:
        return {"encoder": VAE(device=self.device)}

    def _read_labeled(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        check_frozen_names(self.encoder, X)
        return super()._read_labeled(X, y)

    def _training_source(
        self, X: Any, y: Tensor, sample_weight: np.ndarray | None, random: np.random.RandomState, context: Any
    ) -> TrainingData:
        default = self._nested_defaults()["encoder"]
        is_warm_start = self._is_warm_start  # the weights of the M2 were trained on the codes of this encoder
        if is_warm_start:
            self._check_same_width(X.shape[1])
        else:
            self.encoder_ = fitted_encoder(self.encoder, X, sample_weight, random, self, context, default)
        return self._data(X, y, learns=not is_warm_start)

    def _source_of_part(
        self, X: Any, y: Tensor, sample_weight: np.ndarray | None, random: np.random.RandomState
    ) -> TrainingData:
        is_first, default = self._is_first_part, self._nested_defaults()["encoder"]
        if is_first:
            check_frozen_names(self.encoder, X)
        previous = None if is_first else self.encoder_
        self.encoder_ = updated_encoder(self.encoder, previous, X, sample_weight, random, default)
        return self._data(X, y, learns=is_first)

    def _data(self, X: Any, y: Tensor, *, learns: bool) -> TrainingData:
        """Encode rows; ``learns`` chooses the active dimensions and their scales."""
        rows = self.encoder_._read(X)
        self._columns, self._format = self.encoder_._columns, self.encoder_._format
        self.likelihood_, self.likelihoods_ = self.encoder_.likelihood_, self.encoder_.likelihoods_
        mean, sd = self.encoder_._posterior(rows)
        if learns:
            means, sds = (in_memory(training_rows(part)) for part in (mean, sd))
            self.active_ = active_dimensions(means, self.active_threshold)
            self._code_center, self._code_scale = code_scales(means[:, self.active_], sds[:, self.active_])
        mean = (mean[:, self.active_] - self._code_center) / self._code_scale
        sd = sd[:, self.active_] / self._code_scale * self.resample_codes
        side = self._side_source(rows) if self.passthrough else None
        self._n_side = 0 if side is None else self._side(rows[:1]).shape[1]
        codes = self._tensor(mean), self._tensor(sd)
        source = source_of_shards(
            len(mean), y, lambda own_y: GaussianCodeSource(*codes, own_y, side=side), self.device_
        )
        return TrainingData(training_rows(rows), source, mean.shape[1], self.likelihood)

    def _side_source(self, rows: Table) -> Source:
        """Make the source of the columns beside the codes: in memory for an array, read in blocks for a stream."""
        if isinstance(rows, np.ndarray):
            return ResidentSource(self._side(rows))
        return BlockwiseSource(rows, lambda block: (self._side(block), None), torch.device(self.device_))

    def _side(self, rows: Table) -> Tensor:
        """Rows as the encoder reads them."""
        return self._tensor(self.encoder_._encoder_inputs(rows))

    def _read(self, X: Any, *, reset: bool = False) -> Table:
        X = as_table_or_stream(as_host_array(X), type(self).__name__)
        validate_data(self, header_of(X), reset=reset, skip_check_array=True)
        return self.encoder_._read(X)

    _max_gradient_scale = 0.3  # there are few latent dimensions

    def _rows_at_prediction(self, source: Any, indices: Tensor) -> Batch:
        return source.means(indices)

    def _independent_log_density(self, X: np.ndarray) -> float:
        mean, sd = self.encoder_._posterior(X)
        variance = mean[:, self.active_].var(0) + (sd[:, self.active_] ** 2).mean(0) * self.resample_codes
        variance /= self._code_scale**2
        return float(-0.5 * (1 + np.log(2 * np.pi * (variance + VARIANCE_FLOOR))).sum())

    @property
    def _learned_holes(self) -> np.ndarray:
        return self.encoder_._learned_holes

    @property
    def _clips_inputs(self) -> bool:
        return False  # the encoder has clipped the columns that it read

    def _params_of_folds(self, prior: np.ndarray, random: np.random.RandomState) -> dict[str, Any]:
        return super()._params_of_folds(prior, random) | {"encoder": FrozenEstimator(self.encoder_)}

    def _epoch_context(self, context: Any) -> Any:
        task = context.subcontext(task_name="fit-classifier", max_subtasks=self.max_iter)
        return task.call_on_fit_task_begin(estimator=self)

    @property
    def _n_fit_tasks(self) -> int:
        return 1 if isinstance(self.encoder, FrozenEstimator) else 2

    @property
    def _model(self) -> M1M2Module:
        encoder = self.encoder_.module_
        if self.encoder_.device_ != self.device_:  # a frozen VAE stays where it is
            encoder = copy.deepcopy(encoder).to(self.device_)
        scales = self._tensor(self._code_center), self._tensor(self._code_scale)
        return M1M2Module(encoder, self.module_, self._tensor(self.active_), *scales)
