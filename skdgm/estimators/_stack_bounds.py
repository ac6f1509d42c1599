"""What limits a stack's likelihood where it is not exact: bounds of its layers, and log Z of its RBM from two sides."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_scalar
from torch import Generator, Tensor

from skdgm.estimators._arrays import as_host_array, tensor_in_tensor_out
from skdgm.estimators._base import BaseDeepGenerative
from skdgm.estimators._layerwise import LayerBounds, layer_bounds
from skdgm.models.partition import PartitionBracket, log_partition_bracket
from skdgm.models.stack import StackModule
from skdgm.noise import sample_bernoulli


class StackBounds(BaseDeepGenerative):
    """Bounds of the layers of a fitted stack, and of the partition function of its RBM."""

    log_partition_: Any
    n_components_: Any

    @tensor_in_tensor_out
    def latent_marginal_bound(self, X, *, codes_of=None, layer=0, method="auto", n_draws=1, certify=True):
        """Bound the log-likelihood that a layer can reach under any prior over its codes, before the next layer exists.

        Bounds are means over X in nats per row, in the units of X. For any upper layers above the layer p(x | h), the
        mean log-likelihood of X is at most U = max_Q mean log sum_h p(x | h) Q(h). A cell out of the range of training
        is scored as the nearest value in it, minus 10 nats.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Under the Bernoulli likelihood, X must hold 0 and 1: gray rows have no likelihood to bound.
        codes_of : array-like of shape (n_others, n_features) or None, default=None
            Rows whose codes determine q_D(h) = mean q(h | x). None takes X itself, which gives the paper's bound. It is
            optimistic for held-out rows, because it is what a prior made for just these rows would reach. The training
            rows give an honest log-likelihood of held-out X: that of the layer under a prior that has memorized the
            codes of the training rows.
        layer : int, default=0
            Index of the layer, counted from X upward; -1 is the top layer. Above layer 0, the data are codes drawn from
            the layers below.
        method : {"auto", "enumerate", "sample"}, default="auto"
            "enumerate" sums over all 2^n_hidden codes, for n_hidden at most 15. "sample" sums over the distinct codes
            among ``n_draws`` from each row, which still gives a lower bound. "auto" enumerates if possible.
        n_draws : int, default=1
            Number of codes drawn from each row for "sample". More draws tighten the bounds, at a cost that grows with
            the square of the number of rows.
        certify : bool, default=True
            Whether to compute the upper bound. Its EM algorithm takes by far the most time.

        Returns
        -------
        LayerBounds
            An object with these attributes:

            q_lower_bound : float
                mean log sum_h p(x | h) q_D(h). With ``codes_of=None`` it is at most U, and further below U the fewer
                codes there are.
            q_lower_bound_std : float
                Standard error of that mean over rows.
            upper_bound : float or None
                Certified bound on U: the value that EM over Q reached, plus the gap. None if codes are sampled, because
                a maximum over that many codes cannot be certified.
            upper_bound_gap : float or None
                Largest possible gain that remained when EM ended: 0.01 nats, or more after 500 steps.
            autoencoder_bound : float
                mean log sum_h p(x | h) q(h | x) - log n_samples, which autoencoders maximize. It is below the
                q_lower_bound for the codes of X itself. Without the constant it is not a likelihood.

        Raises
        ------
        ValueError
            If there are too many codes to enumerate, or too many rows times codes to hold in memory.
        """
        self._check_fitted()
        if method not in ("auto", "enumerate", "sample"):
            raise ValueError(f"method must be 'auto', 'enumerate' or 'sample', got {method!r}.")
        check_scalar(n_draws, "n_draws", Integral, min_val=1)
        n_layers = len(self.module_.layers)
        check_scalar(layer, "layer", Integral, min_val=-n_layers, max_val=n_layers - 1)
        rng, level = self._fixed_generator(), layer % n_layers
        X = as_host_array(X)
        x = self._rows_below(X, level, rng)
        source = x if codes_of is None else self._rows_below(as_host_array(codes_of), level, rng)
        penalty = float(self._columns.out_of_range_penalty(np.asarray(self._read(X))).mean())
        return self._bounds(level, x, source, rng, penalty, method=method, n_draws=n_draws, certify=certify)

    @torch.no_grad()
    def _bounds(
        self, level: int, x: Tensor, source: Tensor, rng: Generator, penalty: float = 0.0, **options: Any
    ) -> LayerBounds:
        """Compute ``latent_marginal_bound`` from the input of layer ``level``, in the units of X."""
        log_scale = 0.0 if level else float(np.sum(self._columns.log_scale(np.ones((1, x.shape[1]), bool))))
        return layer_bounds(self.module_.layers[level], x, source, rng, log_scale + penalty, **options)

    @torch.no_grad()
    def _rows_below(self, X: Any, level: int, rng: Generator) -> Tensor:
        """Draw the input of layer ``level`` for the rows X."""
        x, _ = self._to_tensors(self._columns.check_density_range(np.asarray(self._read(X))))
        return StackModule(self.module_.layers[:level]).draw_codes(x, rng)

    def _fixed_generator(self) -> Generator:
        """Return a generator seeded by the fit, which makes results repeatable."""
        return Generator(self.device_).manual_seed(self._noise_seed)

    def bracket_log_partition(self, X, *, n_steps=None, random_state=None) -> PartitionBracket:
        """Estimate log Z of the RBM from below and from above, in nats.

        ``log_partition_`` is too low on average, so log p(x) is too high; how much, its standard error cannot tell if
        the chains miss a mode of the RBM. Annealing in reverse, from rows to independent columns, errs in the other
        direction (the reverse AIS estimator, RAISE): with ``upper`` in place of ``log_partition_``, the mean log p(x)
        of these rows is too low on average. The true one lies between the two, as far as the chains of annealing end
        close to the RBM; more steps bring the two together.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to start from, one chain each; held-out rows are best. Values as in ``fit``. Some hundred are enough.
        n_steps : int or None, default=None
            Number of temperatures of both estimates, at least 1; None is ``n_annealing_steps``. More of them narrow the
            bracket and take longer.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        PartitionBracket
            A named tuple with these attributes:

            lower, upper : float
                The estimates. Both are log Z itself where it can be summed exactly.
            lower_error, upper_error : float
                Their standard errors from the chains.

        Notes
        -----
        The upper estimate is that of Y. Burda, R. B. Grosse, R. Salakhutdinov, "Accurate and conservative estimates of
        MRF log-likelihood using reverse annealing", AISTATS 2015. arXiv:1412.8566

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from skdgm import StackedAutoencoder
        >>> X = load_digits().data[:300] / 16 > 0.5
        >>> rbm = StackedAutoencoder(30, likelihood="bernoulli", rbm_max_iter=30, random_state=0).fit(X)
        >>> bracket = rbm.bracket_log_partition(X[:100], random_state=0)
        >>> bool(abs(bracket.upper - bracket.lower) < 0.5)  # nats
        True
        """
        self._check_fitted()
        self._check_complete()
        n_steps = self.n_annealing_steps if n_steps is None else n_steps
        check_scalar(n_steps, "n_steps", Integral, min_val=1)
        rng = self._generator(check_random_state(random_state))
        rbm, x = self.module_.top, self._rows_below(X, len(self.module_.layers) - 1, rng)
        x = sample_bernoulli(x, rng) if rbm.is_binary else x
        return log_partition_bracket(rbm, x, n_steps, self.n_annealing_chains, rng)

    @property
    def _is_complete(self) -> bool:
        return self.log_partition_ is not None

    def _check_complete(self) -> None:
        if not self._is_complete:
            raise ValueError(
                f"this stack was trained with stop_after={len(self.n_components_)} and has no density yet. Train the "
                "rest: StackedAutoencoder(lower=FrozenEstimator(stack), ...)."
            )
