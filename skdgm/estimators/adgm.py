"""ADGM and SDGM as an estimator: M2 with an auxiliary variable."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from torch import Generator

from skdgm._sklearn_compat import Interval, StrOptions
from skdgm.estimators._options import layer_sizes
from skdgm.estimators._row_classifier import BaseRowClassifier
from skdgm.estimators._shards import is_sharded
from skdgm.likelihoods.columns import Groups
from skdgm.models.adgm import ADGMModule


class ADGMClassifier(BaseRowClassifier):
    r"""Semi-supervised classifier: M2 with an auxiliary variable (ADGM, SDGM).

    The encoder draws an auxiliary variable a from a row, and infers class and style from both:
    :math:`q(a, y, z | x) = q(a | x)\, q(y | a, x)\, q(z | a, x, y)`. The posteriors of class and style are then
    mixtures over a, which can fit the true ones better than M2's single normal distribution per class. The model is
    :math:`p(y)\, N(z; 0, I)\, p(x | y, z)\, p(a | z, y, x)`. Its density of the rows is that of M2. With ``skip=True``,
    it is :math:`p(y)\, N(z; 0, I)\, p(a | z, y)\, p(x | a, z, y)`: a is a second latent layer, below z.

    Given a draw of a, training is that of M2, with :math:`\log p(a | \cdot) - \log q(a | x)` as one more term of the
    bound. ``predict_proba`` averages q(y | a, x) over a. The classifier starts as that of M2, without regard to a.

    Parameters
    ----------
    n_components : int, default=10
        Number of latent dimensions, at least 1. Dimensions that the data do not need become inactive: their posterior
        stays at the prior. Too many dimensions therefore cost mainly time.

        The latent code z holds what the class does not determine: the style.

    n_auxiliary : int or "auto", default="auto"
        Number of dimensions of the auxiliary variable a, at least 1. "auto" is ``n_components``. More dimensions allow
        posteriors of more complex shapes, and cost mainly time.

    skip : bool, default=False
        Whether the decoder reads a, too. False is the paper's ADGM, in which only the encoder uses a. True is its SDGM,
        with skip connections from a to X: a more flexible model of the rows, in which a describes rows as well.

    hidden_layer_sizes : int or sequence of int, default=(200,)
        Sizes of the hidden layers of each encoder network, from its input upward. Larger layers fit finer structure and
        take longer to train. An empty sequence makes the network affine.

        The encoder networks are those of q(a | x), q(y | a, x), and q(z | a, x, y), and without ``skip`` that of
        p(a | z, y, x). The decoder mirrors them.

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

    activation : {"softplus", "relu", "tanh", "silu"}, default="relu"
        Activation function of the hidden layers.

        The paper uses "relu", too, with ``batch_norm=True``.

    batch_norm : bool, default=False
        Batch normalization [4]_: in training, each hidden unit is standardized over the rows of a step, before its
        activation. In prediction it uses the moments of the last steps, so that a row's result does not depend on other
        rows.

        The bound rises in fewer epochs, each of which takes about a third longer. On MNIST with 100 labels, SDGM errs
        on 3% with it and on 7% without, but another seed can give 11%. Steps of few rows are noisy; weights of rows do
        not count in the moments; and several processes that train one model cannot use it.

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
        them. If True, the encoder reads the drawn rows, too, as in the original authors' code.

    alpha : float or "auto", default="auto"
        Weight of the classification term, the mean log q(y | x) of the labeled rows, relative to the bound. Larger
        values trust the few labels more, smaller ones the structure of the unlabeled rows.

        "auto" does not let the number of columns outweigh the labels. The objective is the mean bound over all rows
        plus the mean log q(y | x) over labeled rows. The gradient of the bound with respect to q(y | x), and only this
        gradient, is multiplied by 5 / n_columns (40 / n_columns for gray images), at most 1. q(y | x) starts as
        logistic regression on the columns and on features of a Gaussian kernel at the labeled rows; cross-validation
        over the labels chooses the strength of both. Its weights have L2 penalties instead of ``weight_prior``: those
        of this logistic regression and, for the output layer of the MLP, 4 times that of ``C=1``. For gray images, the
        penalties of the hidden and output layers are divided by 4. The classifier's weights for the auxiliary variable
        have ten times the penalty of those for the columns.

        A number in [0, inf) is the paper's alpha divided by the number of rows, in eq. (9) of [1]_, under
        ``alpha_normalization="paper"``; the paper uses 0.1. (It is not the L2 penalty that MLPClassifier calls alpha.)

    alpha_normalization : {"paper", "balanced"}, default="balanced"
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

        The variances of Gaussian columns, one number per column for all rows, are learned at 30 times this rate.

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

    validation_fraction : float, default=0.1
        Share of the rows to hold out, in (0, 1). A larger share judges training more reliably, and leaves fewer rows to
        train on.

        It is a share of the unlabeled rows, or of the labeled rows if these are the ones held out.

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

        The draws are per row and class, in ``score_samples``, ``elbo_samples``, ``impute``, and under
        ``proba_method="bayes"``. A row with missing cells gets four times as many, and some more to adapt to it.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted, without the marker of unlabeled rows.
    module_ : torch.nn.Module
        The trained networks, in evaluation mode.
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
    n_features_in_ : int
        Number of columns of X in ``fit``.
    feature_names_in_ : ndarray of str of shape (n_features,)
        Names of the columns of X. Only there if all of them are strings.

    See Also
    --------
    M2Classifier : The same model without an auxiliary variable: faster, and the default for tables.
    M1M2Classifier : M2 on the latent codes of a VAE, which needs fewer labels on images.
    M1Classifier : Any scikit-learn classifier on the latent codes of a VAE.

    Notes
    -----
    Log-likelihoods are in nats per row. An epoch takes 1.3 to 2 times as long as that of M2Classifier. On a CPU
    it gets faster as q(y | a, x) becomes certain: classes with a probability below 1e-9, the rounding of a row's sum,
    are left out. ``cross_val_score`` and ``GridSearchCV`` need ``cv=LabeledStratifiedKFold()`` if
    y has unlabeled rows. With another splitter, and for scores of training rows, they also need
    ``scoring=make_labeled_scorer("accuracy")``: other scorers count unlabeled rows as wrong.

    The encoder and q(y | x) read standardized columns through a smooth clip, linear up to 5 robust standard deviations
    and bounded by 10, which keeps a single cell from outweighing all others. Densities are those of the unclipped row,
    in the units of X.

    ``fit`` gives a UserWarning if cells are extremely far from all others in their column, such as -9999 for a missing
    value. These are at most 0.1% of the column's cells (or one cell), more than 1,000 scales from its median, and ten
    times as far from it as the next cell. The fit leaves them out. If more cells hold the same far value, the fit
    warns, but takes it for data. ``fit`` also gives a UserWarning if numbers given as ``class_prior`` contradict the
    unlabeled rows. Under ``alpha="auto"``, it gives a ConvergenceWarning if it ran for at least 30 epochs and ended at
    a bound clearly below that of independent columns.

    References
    ----------
    .. [1] D. P. Kingma, D. J. Rezende, S. Mohamed, M. Welling, "Semi-supervised learning with deep generative models",
       NIPS 2014. arXiv:1406.5298
    .. [2] M. Saerens, P. Latinne, C. Decaestecker, "Adjusting the outputs of a classifier to new a priori
       probabilities: a simple procedure", Neural Computation 14(1), 2002, pp. 21-41.
    .. [3] L. Maaløe, C. K. Sønderby, S. K. Sønderby, O. Winther, "Auxiliary deep generative models", ICML 2016.
       arXiv:1602.05473
    .. [4] S. Ioffe, C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
       shift", ICML 2015. arXiv:1502.03167

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdgm import ADGMClassifier
    >>> from skdgm.datasets import mask_labels
    >>> X, y = load_digits(return_X_y=True)
    >>> model = ADGMClassifier(n_components=5, hidden_layer_sizes=(64,), max_iter=5, random_state=0)
    >>> model.fit(X[:500] / 16, mask_labels(y[:500], 50, random_state=0)).predict(X[500:] / 16).shape
    (1297,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseRowClassifier._parameter_constraints,
        "n_auxiliary": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "skip": ["boolean"],
        "batch_norm": ["boolean"],
    }

    def __init__(
        self,
        n_components=10,
        *,
        n_auxiliary="auto",
        skip=False,
        hidden_layer_sizes=(200,),
        network="mlp",
        image_shape=None,
        activation="relu",
        batch_norm=False,
        likelihood="auto",
        handle_unknown="warn",
        dynamic_binarization=False,
        alpha="auto",
        alpha_normalization="balanced",
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
        self.n_auxiliary = n_auxiliary
        self.skip = skip
        self.hidden_layer_sizes = hidden_layer_sizes
        self.network = network
        self.image_shape = image_shape
        self.activation = activation
        self.batch_norm = batch_norm
        self.likelihood = likelihood
        self.handle_unknown = handle_unknown
        self.dynamic_binarization = dynamic_binarization
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

    def _architecture_args(self, targets: np.ndarray, n_columns: int, likelihood: str | Groups) -> dict[str, Any]:
        if self.batch_norm:
            self._check_batch_norm()
        of_m2 = super()._architecture_args(targets, n_columns, likelihood)
        n_auxiliary = of_m2["n_latent"] if self.n_auxiliary == "auto" else int(self.n_auxiliary)
        of_adgm = {"n_auxiliary": n_auxiliary, "skip": bool(self.skip), "batch_norm": bool(self.batch_norm)}
        return {**of_m2, **of_adgm}

    def _check_batch_norm(self) -> None:
        if is_sharded():
            raise ValueError(
                "batch_norm=True standardizes over the rows of one process, but several processes fit together. Use "
                "batch_norm=False, or fit within skdgm.distributed.alone()."
            )
        if not layer_sizes(self.hidden_layer_sizes):
            raise ValueError(
                "batch_norm=True standardizes hidden units, got hidden_layer_sizes=(), without any. Use for example "
                "(200,), or batch_norm=False."
            )

    def _build(self, architecture: dict[str, Any], rng: Generator | None) -> ADGMModule:
        return ADGMModule(**architecture, rng=rng)
