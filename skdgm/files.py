"""A safetensors file with JSON in its metadata: written whole or not at all, and read only if its checksum is right.

The format is safetensors because it is a header and raw arrays, with nothing to run; because sizes in the header are
checked against that of the file; and because other programs can read the weights.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

Document = dict[str, Any]
Arrays = dict[str, np.ndarray]


class DamagedFileError(ValueError):
    """A file is not a safetensors file, or not an intact one of ours."""


class ForeignFileError(ValueError):
    """An intact safetensors file of another program."""


def write_file(path: str | os.PathLike[str], key: str, number: int, document: Document, arrays: Arrays) -> None:
    """Write a document and arrays to a file; the document is JSON under ``key`` of the metadata, in format ``number``.

    Raises
    ------
    OSError
        If the file cannot be written; what stood there before is left as it is.
    """
    entry = {"format": number, "sha256": checksum(document, arrays), "document": document}
    write_whole(path, safetensors().numpy.save(arrays, metadata={key: json.dumps(entry, allow_nan=False)}))


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file under a temporary name in the same folder, and rename it when it is on the disk."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def checksum(document: Document, arrays: Arrays) -> str:
    """SHA-256 of the document, and of the names, types, shapes, and bytes of the arrays."""
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(json.dumps([name, arrays[name].dtype.str, arrays[name].shape]).encode())
        digest.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def read_file(path: str | os.PathLike[str], key: str) -> tuple[Document, Arrays]:
    """Read the entry of the metadata, {"format", "sha256", "document"}, and the arrays, whose checksum is not compared.

    Raises
    ------
    DamagedFileError, ForeignFileError, OSError
    """
    try:
        with safetensors().safe_open(os.fspath(path), framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (OSError, ImportError):
        raise
    except Exception as error:  # its own errors, and those of NumPy for types that NumPy does not have
        raise DamagedFileError(str(error)) from error
    if key not in metadata:
        raise ForeignFileError("it was written by another program")
    try:
        entry = json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(str(error)) from error
    return entry if isinstance(entry, dict) else {}, arrays


def checked_document(entry: Document, arrays: Arrays) -> Document:
    """Return the document of an entry; raise a DamagedFileError if its checksum is wrong."""
    document = entry.get("document")
    if not isinstance(document, dict) or checksum(document, arrays) != entry.get("sha256"):
        raise DamagedFileError("its checksum is wrong")
    return document


def safetensors(purpose: str = "Saving and loading need") -> Any:
    """Import safetensors; raise an ImportError that says how to install it."""
    try:
        import_module("safetensors.numpy")
    except ImportError as error:
        raise ImportError(f"{purpose} safetensors: pip install 'skdgm[save]'.") from error
    return import_module("safetensors")
