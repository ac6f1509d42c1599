"""Estimators as plain values and arrays, and back.

A plain value is what JSON can hold. None, booleans, integers, finite floats, text, and lists of such stay as they are;
any other value becomes ``{tag: plain value}``, with a tag of ``Reader``. Arrays are kept aside, by name.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

from skdgm.files import Arrays
from skdgm.io._classes import CLASSES
from skdgm.io._foreign import dumped, loaded, untrusted

KNOWN: dict[str, type[Any]] = {**CLASSES, "FrozenEstimator": FrozenEstimator}
NUMBERS = "biuf"  # kinds of arrays of numbers
RAW = "USmM"  # kinds of arrays, of text and of times, that are kept as bytes


class UnsavableError(TypeError):
    """A value has no plain form; ``path`` says where it is."""

    def __init__(self, path: str, value: Any, reason: object) -> None:
        super().__init__(str(reason))
        self.path, self.value = path, value


class Writer:
    """Turn an estimator into a plain value, and collect its arrays.

    Parameters
    ----------
    without : mapping of str to object
        Values of parameters that are left out, by the name of the parameter.

    Attributes
    ----------
    arrays : dict of str to ndarray
    """

    def __init__(self, without: Mapping[str, Any]) -> None:
        self.arrays: Arrays = {}
        self._names = set(without)
        self._left_out = {id(value): name for name, value in without.items()}
        self._written: dict[int, tuple[int, Any]] = {}  # the object is kept, so that no other gets its id

    def write(self, value: Any, path: str = "") -> Any:
        """Return the plain form of a value; ``path`` names its arrays."""
        if value is None or type(value) in (bool, int, str):
            return value
        if self._is_left_out(value, path):
            return {"parameter": self._left_out[id(value)]}
        if type(value) is list:
            return self._each(value, path)
        if type(value) is float:
            return value if math.isfinite(value) else {"float": str(value)}
        known = self._builtin(value, path) or self._of_numpy(value, path)
        return known or self._object(value, path)

    def _is_left_out(self, value: Any, path: str) -> bool:
        """Whether a value is that of a parameter to leave out, or of a fitted clone of the estimator that has it."""
        name = "__".join(part.rstrip("_") for part in path.split("."))
        if name in self._names and not isinstance(value, BaseEstimator):  # a fitted clone is not the parameter
            self._left_out[id(value)] = name
        return id(value) in self._left_out

    def _each(self, values: Iterable[Any], path: str) -> list[Any]:
        return [self.write(value, f"{path}.{i}") for i, value in enumerate(values)]

    def _builtin(self, value: Any, path: str) -> dict[str, Any] | None:
        """Write Python's other plain types."""
        kind = type(value)
        if kind is dict:
            return {"dict": [[self.write(key, path), self.write(one, f"{path}.{key}")] for key, one in value.items()]}
        if kind in (tuple, set, frozenset):
            return {kind.__name__: self._each(value, path)}
        if kind in (slice, range):
            return {kind.__name__: self._each((value.start, value.stop, value.step), path)}
        if isinstance(value, PurePath):
            return {"path": str(value)}
        return {"bytes": value.hex()} if kind is bytes else None

    def _of_numpy(self, value: Any, path: str) -> dict[str, Any] | None:
        """Write what belongs to NumPy, and the missing value of pandas."""
        if isinstance(value, np.generic) and value.dtype.kind in NUMBERS + RAW:
            return {"scalar": self._array(np.asarray(value), path)}
        if type(value) in (np.ndarray, np.memmap):
            if value.dtype == object:
                return {"objects": [list(value.shape), self._each(value.ravel().tolist(), path)]}
            return {"array": self._array(value, path)} if value.dtype.kind in NUMBERS + RAW else None
        if isinstance(value, np.dtype) and value.kind in NUMBERS + RAW + "O":
            return {"dtype": value.str}
        if isinstance(value, np.random.RandomState):
            return {"random_state": self.write(value.get_state(), path)}
        return {"missing": "NA"} if value is getattr(sys.modules.get("pandas"), "NA", math) else None

    def _array(self, array: np.ndarray, path: str) -> dict[str, Any]:
        """Keep an array aside. Its order in memory is kept too, since the bits of a product may depend on it."""
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        cells = np.ascontiguousarray(array.T if is_fortran else array)
        if array.dtype.kind in RAW or array.dtype.itemsize > 8:  # safetensors has no such type
            cells = cells.reshape(-1).view(np.uint8)
        name = self._keep(cells, path)
        return {"name": name, "dtype": array.dtype.str, "shape": list(array.shape), "order": "CF"[is_fortran]}

    def _keep(self, cells: np.ndarray, path: str) -> str:
        name, n = path, 1
        while name in self.arrays:
            n += 1
            name = f"{path} ({n})"
        self.arrays[name] = cells
        return name

    def _object(self, value: Any, path: str) -> dict[str, Any]:
        """Write an object of skdgm as the name of its class and its state, any other by skops; each only once."""
        if id(value) in self._written:
            return {"same": self._written[id(value)][0]}
        number = len(self._written)
        self._written[id(value)] = number, value
        name = type(value).__name__
        if KNOWN.get(name) is type(value):
            inside = f"{path}." if path else ""
            state = {key: self.write(one, inside + key) for key, one in state_of(value).items()}
            return {"object": {"class": name, "number": number, "state": state}}
        try:
            return {"foreign": {"name": self._keep(dumped(value), path), "number": number}}
        except TypeError as error:
            raise UnsavableError(path, value, error) from error


def state_of(value: Any) -> dict[str, Any]:
    """Return the attributes of an object of skdgm by name."""
    if isinstance(value, BaseEstimator):
        return dict(value.__getstate__())
    return dict(value._asdict() if hasattr(value, "_asdict") else vars(value))


class Reader:
    """Make an estimator from its plain value and arrays.

    Parameters
    ----------
    arrays : dict of str to ndarray
    params : mapping of str to object
        Values of parameters that were left out.
    device : str or None
        Device of all estimators of skdgm; None leaves it to them.
    trusted : sequence of str
        Types of scikit-learn that may be loaded in addition to those that are always.
    """

    def __init__(self, arrays: Arrays, params: Mapping[str, Any], device: str | None, trusted: Sequence[str]) -> None:
        self.arrays, self.params, self.device, self.trusted = arrays, params, device, trusted
        self._read: dict[int, Any] = {}

    def read(self, node: Any) -> Any:
        """Return the value of a plain form."""
        if isinstance(node, list):
            return [self.read(one) for one in node]
        if not isinstance(node, dict):
            return node
        ((tag, content),) = node.items()
        if tag not in TAGS:
            raise ValueError(f"unknown tag {tag!r}")
        return getattr(self, f"read_{tag}")(content)

    def read_float(self, content: str) -> float:
        """Read a number that is not finite."""
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[content]

    def read_tuple(self, content: list[Any]) -> tuple[Any, ...]:
        """Read a tuple."""
        return tuple(self.read(content))

    def read_set(self, content: list[Any]) -> set[Any]:
        """Read a set."""
        return set(self.read(content))

    def read_frozenset(self, content: list[Any]) -> frozenset[Any]:
        """Read a frozen set."""
        return frozenset(self.read(content))

    def read_dict(self, content: list[Any]) -> dict[Any, Any]:
        """Read a dictionary, of keys of any type."""
        return {self.read(key): self.read(value) for key, value in content}

    def read_slice(self, content: list[Any]) -> slice:
        """Read a slice."""
        return slice(*self.read(content))

    def read_range(self, content: list[Any]) -> range:
        """Read a range."""
        return range(*self.read(content))

    def read_bytes(self, content: str) -> bytes:
        """Read bytes."""
        return bytes.fromhex(content)

    def read_path(self, content: str) -> Path:
        """Read the path of a file or folder, which nothing opens before the next fit."""
        return Path(str(content))

    def read_missing(self, content: str) -> Any:
        """Read the missing value of pandas."""
        return {"NA": import_module("pandas").NA}[content]

    def read_dtype(self, content: str) -> np.dtype[Any]:
        """Read a dtype of NumPy."""
        return np.dtype(str(content))

    def read_random_state(self, content: Any) -> np.random.RandomState:
        """Read a random state."""
        random = np.random.RandomState()
        random.set_state(self.read(content))
        return random

    def read_array(self, content: dict[str, Any]) -> np.ndarray:
        """Read an array that was kept aside."""
        cells, dtype = self.arrays[content["name"]], np.dtype(str(content["dtype"]))
        if dtype.kind not in NUMBERS + RAW:
            raise ValueError(f"an array of {dtype}")
        is_fortran, shape = content["order"] == "F", tuple(content["shape"])
        if min(shape, default=0) < 0:
            raise ValueError(f"an array of shape {shape}")
        cells = cells if cells.dtype == dtype else cells.view(dtype)
        cells = cells.reshape(shape[::-1] if is_fortran else shape)
        return np.array(cells.T if is_fortran else cells, order="K")  # a writable copy, aligned in memory

    def read_scalar(self, content: dict[str, Any]) -> Any:
        """Read a scalar of NumPy."""
        return self.read_array(content)[()]

    def read_objects(self, content: list[Any]) -> np.ndarray:
        """Read an array of objects."""
        shape, cells = content
        array = np.empty(len(cells), dtype=object)
        array[:] = self.read(cells)
        return array.reshape(shape)

    def read_parameter(self, name: str) -> Any:
        """Return a parameter that was left out."""
        return self.params[name]

    def read_same(self, number: int) -> Any:
        """Return an object that was read before."""
        return self._read[number]

    def read_foreign(self, content: dict[str, Any]) -> Any:
        """Read an object that skops wrote."""
        data = self.arrays[content["name"]]
        unknown = untrusted(data, self.trusted)
        if unknown:
            raise UntrustedError(unknown)
        self._read[content["number"]] = loaded(data, self.trusted)
        return self._read[content["number"]]

    def read_object(self, content: dict[str, Any]) -> Any:
        """Read an object of skdgm; its state is checked."""
        kind = KNOWN[content["class"]]
        state = {name: self.read(value) for name, value in content["state"].items()}
        self._read[content["number"]] = made = self._made(kind, state)
        return made

    def _made(self, kind: type[Any], state: dict[str, Any]) -> Any:
        if issubclass(kind, tuple):
            return kind(**state)
        made = object.__new__(kind)
        if issubclass(kind, BaseEstimator):
            made.__setstate__({**state, "device": self.device} if self.device and "device" in state else state)
            return made
        if is_dataclass(kind) and state.keys() != {field.name for field in fields(kind)}:
            raise ValueError(f"{kind.__name__} with {sorted(state)}")
        vars(made).update(state)
        return made


class UntrustedError(TypeError):
    """A file contains types that are not loaded unless the caller trusts them."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


TAGS = {name.removeprefix("read_") for name in vars(Reader) if name.startswith("read_")}
