"""The classes of skdgm that a file may name. A file cannot name any other: nothing is imported by name."""

from __future__ import annotations

from typing import Any

from skdgm.checkpoints import Checkpoint
from skdgm.estimators._columns import ColumnTransform
from skdgm.estimators._kernel_start import Strengths
from skdgm.estimators._label_terms import LabelTotals
from skdgm.estimators._layerwise import LayerBounds
from skdgm.estimators._likelihood_choice import LikelihoodChoice
from skdgm.estimators._partial_fit import Parts
from skdgm.estimators._tables import ColumnFormat, TableFormat
from skdgm.estimators._unlabeled import UnlabeledRows, WithUnlabeledRows, WithWeightsAndUnlabeledRows
from skdgm.estimators.adgm import ADGMClassifier
from skdgm.estimators.deep_imputer import DeepImputer
from skdgm.estimators.dlgm import DLGM
from skdgm.estimators.m1 import M1Classifier
from skdgm.estimators.m1m2 import M1M2Classifier
from skdgm.estimators.m2 import M2Classifier
from skdgm.estimators.semi_supervised_meta import SemiSupervisedMetaClassifier
from skdgm.estimators.stacked_autoencoder import StackedAutoencoder
from skdgm.estimators.transductive_svc import TransductiveSVC
from skdgm.estimators.vae import VAE
from skdgm.likelihoods.columns import ColumnGroup
from skdgm.svm.solvers import KernelSVMs, LinearSVMs

CLASSES: dict[str, type[Any]] = {
    one.__name__: one
    for one in (
        VAE,
        DLGM,
        DeepImputer,
        StackedAutoencoder,
        M1Classifier,
        M2Classifier,
        ADGMClassifier,
        M1M2Classifier,
        TransductiveSVC,
        SemiSupervisedMetaClassifier,
        Checkpoint,
        ColumnTransform,
        ColumnFormat,
        TableFormat,
        ColumnGroup,
        LikelihoodChoice,
        LayerBounds,
        LabelTotals,
        Parts,
        Strengths,
        KernelSVMs,
        LinearSVMs,
        UnlabeledRows,
        WithUnlabeledRows,
        WithWeightsAndUnlabeledRows,
    )
}
