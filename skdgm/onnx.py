"""Export fitted estimators, and pipelines that contain them, to ONNX: converters for skl2onnx.

The modules of ``skdgm.export`` become nodes of the graph, so whatever network an estimator has is exported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skdgm._warnings import ignored
from skdgm.estimators._frames import Column, columns_of, container_of, holds_integers
from skdgm.estimators._tables import ColumnFormat
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
from skdgm.export import FEATURES, prediction_module

try:
    import onnx
    import onnxscript  # noqa: F401 - torch.onnx needs it
    import skl2onnx
    from skl2onnx.common import data_types as types
except ImportError as error:
    raise ImportError(
        f"skdgm.onnx needs onnx, onnxscript, and skl2onnx ({error}). Install them: pip install 'skdgm[onnx]'."
    ) from error

__all__ = ["register_converters", "to_onnx"]

Function = Callable[..., None]

# The lowest opset that torch.onnx writes.
MIN_OPSET = 18
# Code of an unknown category; it is read as a missing cell.
UNKNOWN = -1.0
CLASSIFIER_OPTIONS = {"zipmap": [True, False, "columns"], "nocl": [False], "output_class_labels": [False, True]}

TRANSFORMERS = [VAE, DLGM, StackedAutoencoder]
CLASSIFIERS: dict[type[Any], str] = {
    M2Classifier: "predict_proba",
    ADGMClassifier: "predict_proba",
    M1M2Classifier: "predict_proba",
    TransductiveSVC: "decision_function",
}
NOT_EXPORTED = {
    DeepImputer: "it fills cells with draws that depend on each row's values, and a graph has no such generator",
    SemiSupervisedMetaClassifier: "its members are wrapped; export a classifier that is fitted by itself",
}


# --- public -------------------------------------------------------------------------------------------------------


def to_onnx(model: Any, X: Any, *, target_opset: int | None = None, options: Any = None) -> onnx.ModelProto:
    """Export a fitted estimator, or a pipeline with estimators of skdgm and scikit-learn, as one ONNX graph.

    Parameters
    ----------
    model : estimator
        A fitted VAE, DLGM, StackedAutoencoder, M1Classifier, M2Classifier, ADGMClassifier, M1M2Classifier, or
        TransductiveSVC, or a scikit-learn estimator that contains them, such as a Pipeline.
    X : array or frame of shape (n_samples, n_features)
        Rows like those that the graph will read; only their types count. An array becomes one input, "X". A frame
        becomes one input of shape (n_samples, 1) for each column, of its name and type; text is read as strings. In
        names, skl2onnx replaces all but letters, digits, and underscores.
    target_opset : int or None, default=None
        Version of ONNX's operators, at least 18. None is the highest one that skl2onnx supports; lower ones suit older
        runtimes.
    options : dict or None, default=None
        Options of skl2onnx. None is ``{"zipmap": False}`` for classifiers: probabilities as an array.

    Returns
    -------
    onnx.ModelProto
        Its outputs are "label" and "probabilities" for classifiers ("probabilities" holds decision values where the
        classifier has no probabilities), or "variable" for transformers. Any number of rows is allowed.

    Raises
    ------
    TypeError, ValueError
        For a part that cannot be exported; the message says which part and why.

    Notes
    -----
    Codes and probabilities equal those of the estimators within 1e-5, and labels are the same. onnxruntime computes
    them without torch and scikit-learn.

    The graph cannot warn or raise. NaN marks a missing cell, and so does an unknown category, such as "" in a column of
    text. A row that misses a cell in a column that was complete in ``fit`` gets NaN and the label -1 or "", since the
    estimator would fill the cell by random chains. Fit with some missing cells in the column, or with
    ``input_noise="dropout"`` for a VAE, to read such rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skdgm import M2Classifier
    >>> from skdgm.onnx import to_onnx
    >>> X, y = load_iris(return_X_y=True)
    >>> X = X.astype(np.float32)
    >>> model = M2Classifier(max_iter=5, random_state=0).fit(X, y)
    >>> graph = to_onnx(model, X)
    >>> import onnxruntime
    >>> session = onnxruntime.InferenceSession(graph.SerializeToString())
    >>> label, probabilities = session.run(None, {"X": X})
    >>> bool((label == model.predict(X)).all()), np.allclose(probabilities, model.predict_proba(X), atol=1e-5)
    (True, True)
    """
    check_is_fitted(model)
    register_converters()
    if options is None and hasattr(model, "classes_"):
        options = {id(model): {"zipmap": False}}
    with ignored(FutureWarning):  # skl2onnx reads attributes that scikit-learn has deprecated
        return skl2onnx.to_onnx(model, initial_types=input_types(X, model), target_opset=target_opset, options=options)


def register_converters() -> None:
    """Register the estimators with skl2onnx, for ``skl2onnx.to_onnx`` and ``skl2onnx.convert_sklearn``.

    ``to_onnx`` does this itself. Repeated calls change nothing.
    """
    for transformer in TRANSFORMERS:
        register(transformer, set_code_types, convert_transformer)
    for classifier in CLASSIFIERS:
        register(classifier, set_class_types, convert_classifier, CLASSIFIER_OPTIONS)
    register(M1Classifier, set_class_types, convert_m1, CLASSIFIER_OPTIONS)
    for estimator in NOT_EXPORTED:
        register(estimator, raise_not_exported, convert_transformer)


def register(
    estimator: type, set_types: Callable[..., None], convert: Callable[..., None], options: Any = None
) -> None:
    """Register the functions that set the types of the outputs, and that add the nodes of an estimator."""
    skl2onnx.update_registered_converter(estimator, f"Skdgm{estimator.__name__}", set_types, convert, options=options)


# --- types of inputs and outputs ----------------------------------------------------------------------------------


def input_types(X: Any, model: Any) -> list[tuple[str, Any]]:
    """Return names and types of the inputs: one for an array, one per column for a frame."""
    if container_of(X) != "array":
        columns = columns_of(X)
        check_columns([column.name for column in columns], model)
        return [(str(column.name), type_of(column)) for column in columns]
    array = np.asarray(X)
    kinds = {"f": types.FloatTensorType if array.dtype == np.float32 else types.DoubleTensorType}
    kinds |= {**dict.fromkeys("iu", types.Int64TensorType), "b": types.BooleanTensorType}
    if array.ndim != 2 or array.dtype.kind not in kinds:
        raise ValueError(
            f"X must be an array of numbers of two dimensions, or a frame, got an array of shape {array.shape} and "
            f"dtype {array.dtype}. Put columns of text and of numbers into a frame: the graph gets an input for each."
        )
    check_columns(range(array.shape[1]), model)
    return [("X", kinds[array.dtype.kind]([None, array.shape[1]]))]


def check_columns(names: Sequence[Any], model: Any) -> None:
    """Raise an error if X has other columns than those that a model was fitted to, whose order the graph keeps."""
    n_columns, wanted = getattr(model, "n_features_in_", len(names)), getattr(model, "feature_names_in_", None)
    if len(names) != n_columns:
        raise ValueError(f"X has {len(names)} columns, but the model was fitted to {n_columns}.")
    if wanted is not None and not isinstance(names, range) and list(names) != list(wanted):
        raise ValueError(
            f"X has the columns {list(names)}, but the model was fitted to {list(wanted)}. Give X these columns in "
            "this order."
        )


def type_of(column: Column) -> Any:
    """Return the type of the input for a column."""
    kind = column.observed_kind()
    if kind == "category":
        return types.StringTensorType([None, 1])
    if kind == "boolean" and not column.missing.any():
        return types.BooleanTensorType([None, 1])
    if holds_integers(column.dtype) and not column.missing.any():
        return types.Int64TensorType([None, 1])
    return (types.FloatTensorType if column.cells.dtype == np.float32 else types.DoubleTensorType)([None, 1])


def float_type(operator: Any, n_columns: int | None) -> Any:
    """Return the type of codes or probabilities: double if an input is, otherwise float."""
    is_double = any(isinstance(variable.type, types.DoubleTensorType) for variable in operator.inputs)
    kind = types.DoubleTensorType if is_double else types.FloatTensorType
    return kind([operator.inputs[0].get_first_dimension(), n_columns])


def set_code_types(operator: Any) -> None:
    """Set the type of the codes of a transformer."""
    operator.outputs[0].set_type(float_type(operator, operator.raw_operator._n_features_out))


def set_class_types(operator: Any) -> None:
    """Set the types of the labels and of the probabilities of a classifier."""
    labels = label_table(operator.raw_operator)
    kind = types.StringTensorType if isinstance(labels[0], str) else types.Int64TensorType
    operator.outputs[0].set_type(kind([operator.inputs[0].get_first_dimension()]))
    n_values = None if isinstance(operator.raw_operator, M1Classifier) else len(labels) - 1  # an SVC may have others
    operator.outputs[1].set_type(float_type(operator, n_values))


def label_table(classifier: Any) -> list[Any]:
    """Return the labels as strings or integers, and at last the label of a row that cannot be read: "" or -1."""
    labels = classifier.classes_.tolist()
    if isinstance(labels[0], str):
        return [*labels, ""]
    integers = [int(label) for label in labels]  # skl2onnx reads booleans and floats as integers, too
    return [*integers, -1 if -1 not in integers else np.iinfo(np.int64).min]


# --- converters ---------------------------------------------------------------------------------------------------


def convert_transformer(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a transformer."""
    transformer = operator.raw_operator
    graph = Graph(scope, container)
    (codes,) = graph.add_module(
        prediction_module(transformer, "transform"), graph.table(operator, transformer), transformer
    )
    graph.cast(codes, operator.outputs[0])


def convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a classifier whose module gives a value for each class."""
    classifier = operator.raw_operator
    graph = Graph(scope, container)
    module = WithIndex(prediction_module(classifier, CLASSIFIERS[type(classifier)]))
    values, index = graph.add_module(module, graph.table(operator, classifier), classifier)
    graph.cast(values, operator.outputs[1])
    graph.look_up(label_table(classifier), index, operator.outputs[0])


def convert_m1(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of the encoder and, by its own converter, those of the inner estimator."""
    classifier, inner = operator.raw_operator, operator.raw_operator.estimator_
    graph, module = Graph(scope, container), Readable(prediction_module(classifier, FEATURES))
    features, is_unread = graph.add_module(module, graph.table(operator, classifier.encoder_), classifier)
    part = scope.declare_local_operator(alias_of(inner), inner)
    part.inputs.append(scope.declare_local_variable("features", float_type(operator, None)))
    part.outputs.append(scope.declare_local_variable("label", types.Int64TensorType()))
    part.outputs.append(scope.declare_local_variable("probabilities", types.FloatTensorType()))
    label, values = (variable.full_name for variable in part.outputs)
    graph.cast(features, part.inputs[0])
    values = graph.add("Cast", values, to=onnx.TensorProto.DOUBLE)
    graph.cast(graph.add("Where", graph.add("Unsqueeze", is_unread, [1]), np.nan, values), operator.outputs[1])
    labels = label_table(classifier)
    if breaks_ties(inner):
        label = graph.add("ArgMax", values, axis=1, keepdims=0)
    if classifier._inner_uses_indices or breaks_ties(inner):
        graph.look_up(labels, graph.add("Where", is_unread, [len(labels) - 1], label), operator.outputs[0])
    else:
        graph.add("Where", is_unread, labels[-1:], label, output=operator.outputs[0].full_name)


def alias_of(inner: Any) -> str:
    """Return the name under which skl2onnx knows an inner estimator."""
    try:
        return str(skl2onnx.get_model_alias(type(inner)))
    except RuntimeError as error:
        raise TypeError(
            f"M1Classifier cannot be exported with the inner estimator {type(inner).__name__}: skl2onnx has no "
            "converter for it. Use an estimator of scikit-learn that skl2onnx supports, or register a converter."
        ) from error


def breaks_ties(inner: Any) -> bool:
    """Tell whether an SVC breaks ties between more than two classes by its decision values; ONNX's does not."""
    is_one = isinstance(inner, SVC) and inner.break_ties and inner.decision_function_shape == "ovr"
    return bool(is_one and inner.probability is not True and len(inner.classes_) > 2)


def raise_not_exported(operator: Any) -> None:
    """Raise an error for an estimator that has no graph."""
    kind = type(operator.raw_operator)
    raise TypeError(f"{kind.__name__} cannot be exported: {NOT_EXPORTED[kind]}.")


class WithIndex(nn.Module):
    """The values of the classes, and the index of the largest one: the number of classes if they are NaN."""

    def __init__(self, values: nn.Module) -> None:
        super().__init__()
        self.values = values

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Values of shape (n, n_classes) and indices of shape (n,)."""
        values = self.values(X)
        return values, torch.where(torch.isnan(values).any(-1), values.shape[-1], values.argmax(-1))


class Readable(nn.Module):
    """Features, 0 for rows that cannot be read, and which rows these are."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Features of shape (n, n_features) and a mask of shape (n,)."""
        features = self.features(X)
        is_unread = torch.isnan(features).any(-1)
        return torch.where(is_unread[:, None], 0.0, features), is_unread


# --- graphs -------------------------------------------------------------------------------------------------------


class Graph:
    """Add nodes to what skl2onnx converts."""

    def __init__(self, scope: Any, container: Any) -> None:
        self.scope, self.container = scope, container
        if container.target_opset_onnx < MIN_OPSET:
            raise ValueError(f"skdgm needs target_opset >= {MIN_OPSET}, got {container.target_opset_onnx}.")

    def add(self, op_type: str, *inputs: Any, output: str | None = None, domain: str = "", **attributes: Any) -> str:
        """Add a node of names and constants; return the name of its output."""
        output = output or self.scope.get_unique_variable_name(op_type.lower())
        names = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        name = self.scope.get_unique_operator_name(op_type)
        self.container.add_node(op_type, names, output, name=name, op_domain=domain, **attributes)
        return output

    def constant(self, value: Any) -> str:
        """Add an initializer of floats, integers, or strings; return its name."""
        array = np.asarray(value)
        tensor = onnx.numpy_helper.from_array(array.astype(object) if array.dtype.kind == "U" else array)
        tensor.name = str(self.scope.get_unique_variable_name("constant"))
        self.container.initializers.append(tensor)
        return tensor.name

    def cast(self, name: str, variable: Any) -> None:
        """Give a variable this value, in its type."""
        self.add("Cast", name, output=variable.full_name, to=types.guess_proto_type(variable.type))

    def look_up(self, labels: list[Any], index: str, variable: Any) -> None:
        """Give a variable the labels at these indices."""
        self.add("Gather", labels, index, output=variable.full_name)

    def table(self, operator: Any, reader: Any) -> str:
        """Join the inputs to a table of doubles, with codes in place of text; return its name."""
        table_format = getattr(reader, "_format", None)
        parts, formats = [], list(table_format.columns) if table_format else [None] * reader.n_features_in_
        for variable in operator.inputs:
            n_columns = variable.type.shape[1] if len(variable.type.shape) > 1 else None
            read, formats = formats[:n_columns], formats[n_columns or len(formats) :]
            parts.append(self.numbers(variable, read, type(reader).__name__))
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=1)

    def numbers(self, variable: Any, formats: list[ColumnFormat | None], owner: str) -> str:
        """Return the name of an input as doubles."""
        is_text = isinstance(variable.type, types.StringTensorType)
        wrong = [one.name for one in formats if one is not None and (one.kind == "category") != is_text]
        if wrong or (is_text and len(formats) != 1):
            raise TypeError(
                f"{owner}: the input {variable.raw_name!r} holds {'text' if is_text else 'numbers'}, but the estimator "
                f"was fitted to {'numbers' if is_text else 'text'} in column {wrong[0]!r}. Export with a frame like "
                "that of the fit: it gives each column an input of its own."
            )
        name = variable.full_name
        if is_text and formats[0] is not None:
            name = self.codes(name, formats[0])
        return self.add("Cast", name, to=onnx.TensorProto.DOUBLE)

    def codes(self, name: str, column: ColumnFormat) -> str:
        """Return the name of the codes of a column of text."""
        categories = list(column.categories or ())
        other = [label for label in categories if not isinstance(label, str)]
        if other:
            raise TypeError(
                f"column {column.name!r} has categories that are not text, such as {other[0]!r}, which a graph cannot "
                "read beside text. Convert the column to text before the fit."
            )
        codes: Any = {"keys_strings": categories, "values_floats": np.arange(len(categories), dtype=float).tolist()}
        return self.add("LabelEncoder", name, domain="ai.onnx.ml", op_version=2, default_float=UNKNOWN, **codes)

    def add_module(self, module: nn.Module, table: str, owner: Any) -> list[str]:
        """Add the nodes of a module that reads the table of an estimator; return the names of its outputs."""
        opset, prefix = self.container.target_opset_onnx, self.scope.get_unique_variable_name("skdgm")
        graph = onnx.compose.add_prefix(onnx_of(module, owner, opset), f"{prefix}_").graph
        self.add("Identity", table, output=graph.input[0].name)
        self.container.nodes.extend(graph.node)
        self.container.initializers.extend(graph.initializer)
        self.container.node_domain_version_pair_sets.add(("", opset))
        return [output.name for output in graph.output]


def onnx_of(module: nn.Module, owner: Any, opset: int) -> onnx.ModelProto:
    """Convert a module that reads rows of doubles to ONNX."""
    rows, dynamic = torch.zeros(2, owner.n_features_in_, dtype=torch.double), {0: torch.export.Dim("n_samples")}
    try:
        with quiet():
            program = torch.export.export(module, (rows,), dynamic_shapes=(dynamic,), strict=False)
            if any(node.target in WITHOUT_ONNX for node in program.graph.nodes):
                program = program.run_decompositions(WITHOUT_ONNX)
            exported: Any = torch.onnx.export(program, dynamo=True, opset_version=opset, verbose=False)
            return exported.model_proto
    except Exception as error:
        raise ValueError(
            f"the networks of {type(owner).__name__} cannot be exported: torch.export or torch.onnx does not support "
            "something that they compute. The error above says what."
        ) from error


def searchsorted(knots: Tensor, x: Tensor, **options: Any) -> Tensor:
    """``torch.searchsorted`` for (n, n_knots) and (n, m), which ONNX lacks."""
    return (knots[:, None] < x[..., None]).sum(-1)


WITHOUT_ONNX = {torch.ops.aten.searchsorted.Tensor: searchsorted}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what torch.onnx says of packages that are not installed, and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with ignored(Warning):
            yield
    finally:
        logger.setLevel(level)
