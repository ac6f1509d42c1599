"""Checkpoints of a fit: a folder from which it continues after it was killed, and ends with the same bits.

A fit is a sequence of trainings with deterministic work between them. The folder holds ``fit.json``, which says of what
fit it is, and for each training the last two states between epochs, or its end. A fit that is run again does the work
between trainings again, loads the ends of trainings, and continues the one that has no end yet.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from numbers import Integral, Real
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import numpy as np
import torch

from skdgm._warnings import warn_user
from skdgm.files import (
    DamagedFileError,
    ForeignFileError,
    checked_document,
    read_file,
    safetensors,
    write_file,
    write_whole,
)
from skdgm.training_state import Snapshot

FORMAT = 1  # checkpoints of another format cannot be continued
KEY = "skdgm_checkpoint"  # in the metadata of a file
ABOUT = "fit.json"
TEMPORARY = re.compile(r"\..*\.tmp")
N_KEPT = 2  # states of a training: the newest one may turn out to be damaged
MAX_SHOWN = 60  # characters of a value in a message

Fingerprint = dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often a fit saves its state; the value of the parameter ``checkpoint`` of estimators.

    Parameters
    ----------
    path : str or path
        Folder of the checkpoint. It is made if it does not exist; otherwise, it must be empty or a checkpoint.
    every_minutes : float or None, default=5.0
        Save at the end of an epoch if the last state is older than this, in minutes, in (0, inf). Shorter intervals
        lose less work when the process dies, and write more often. None saves by ``every_epochs`` only.
    every_epochs : int or None, default=None
        Save after this many epochs, at least 1; fewer lose less, and write more often. None saves by
        ``every_minutes`` only. If both are given, whichever comes first counts.
    subfolders : bool, default=False
        Whether each fit gets a folder of its own in ``path``, named by its data and parameters. A search runs many
        fits and needs it; a search that is run again then continues, too. If False, ``path`` belongs to one fit, and
        any other fit is an error.

    Raises
    ------
    ValueError
        If no interval is given, or one that is not positive.

    See Also
    --------
    skdgm.save : Save a fitted estimator.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skdgm import VAE, Checkpoint
    >>> X = np.random.default_rng(0).normal(size=(60, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     vae = VAE(2, max_iter=4, checkpoint=Checkpoint(folder, every_epochs=2), random_state=0)
    ...     first = vae.fit(X).transform(X)
    ...     again = vae.fit(X).transform(X)  # training is complete, and its end is loaded
    >>> np.array_equal(first, again)
    True
    """

    path: str | os.PathLike[str]
    every_minutes: float | None = 5.0
    every_epochs: int | None = None
    subfolders: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fspath(self.path))
        if self.every_minutes is None and self.every_epochs is None:
            raise ValueError("Checkpoint needs an interval, got every_minutes=None and every_epochs=None. Give one.")
        minutes, epochs = self.every_minutes, self.every_epochs
        if minutes is not None and not (isinstance(minutes, Real) and minutes > 0):
            raise ValueError(f"every_minutes must be a number above 0 or None, got {self.every_minutes!r}.")
        if epochs is not None and not (isinstance(epochs, Integral) and epochs >= 1):
            raise ValueError(f"every_epochs must be an int of at least 1 or None, got {self.every_epochs!r}.")


class CheckpointFolder:
    """The checkpoint of one fit.

    Nothing is written before the first training, so that a fit with invalid input leaves no folder behind.

    Parameters
    ----------
    checkpoint : Checkpoint
    fingerprint : callable
        Returns what the fit depends on, by name, as plain values.
    new_seed : callable
        Returns the seed of a fit that is not seeded by the user, otherwise None.
    verbose : bool
        Whether to print where the fit continues.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        fingerprint: Callable[[], Fingerprint],
        new_seed: Callable[[], int | None],
        *,
        verbose: bool,
    ) -> None:
        self.checkpoint, self.verbose = checkpoint, verbose
        self.path = Path(checkpoint.path)
        self._fingerprint, self._new_seed = fingerprint, new_seed
        self._about: Fingerprint | None = None
        self.n_trainings, self.has_warned, self.is_new = 0, False, False

    @property
    def seed(self) -> int | None:
        """The seed with which a fit that is not seeded by the user begins, and continues."""
        seed: int | None = self.about["seed"]
        return seed

    @property
    def about(self) -> Fingerprint:
        """What ``fit.json`` holds, or will hold.

        Raises
        ------
        ValueError
            If the folder is the checkpoint of another fit, or no checkpoint.
        """
        if self._about is None:
            safetensors("Checkpoints need")
            fit = self._fingerprint()
            if self.checkpoint.subfolders:
                self.path /= f"{fit['estimator']}-{digest_of(fit)[:16]}"
            self._about = self._found(fit) or {"fit": fit, "seed": self._new_seed()}
        return self._about

    @property
    def digest(self) -> str:
        """What tells the files of this fit from those of others."""
        return digest_of(self.about)

    def training(self, title: str) -> TrainingFiles:
        """Return the files of the next training of the fit."""
        if not self.n_trainings:
            self._claim()
        self.n_trainings += 1
        return TrainingFiles(self, self.n_trainings, title)

    def close(self) -> None:
        """Delete what nothing needs any more: states of trainings that have ended, or a folder without any state."""
        if self._about is None:
            return
        with suppress(OSError):  # a fit must not fail for what it does not need
            ends = set(self.path.glob("training-*-end.safetensors"))
            for state in self.path.glob("training-*-epoch-*.safetensors"):
                if end_of(state) in ends:
                    state.unlink(missing_ok=True)
            if self.is_new and not any(self.path.glob("training-*.safetensors")):
                (self.path / ABOUT).unlink(missing_ok=True)
                self.path.rmdir()

    def warn_once(self, message: str) -> None:
        """Warn, but only the first time in a fit."""
        if not self.has_warned:
            warn_user(message)
        self.has_warned = True

    def _found(self, fit: Fingerprint) -> Fingerprint | None:
        """Return what the folder says of itself, None if there is nothing; raise an error if it is of another fit."""
        about = self.path / ABOUT
        if not about.exists():
            self._check_empty()
            return None
        try:
            found = json.loads(about.read_text("utf8"))
            there, _ = dict(found["fit"]), found["seed"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{os.fspath(about)!r} is damaged ({error}). Delete the folder.") from error
        here = json.loads(json.dumps(fit))
        if there != here:
            raise ValueError(
                f"checkpoint={os.fspath(self.path)!r} is that of another fit: {differences(there, here)}. Continue "
                "that fit as it began; or delete the folder, or name another one, to begin anew. A search runs many "
                "fits: give it Checkpoint(path, subfolders=True)."
            )
        return dict(found)

    def _check_empty(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"checkpoint={os.fspath(self.path)!r} is a file. Name a folder.")
        others = [path.name for path in self.path.glob("*") if not TEMPORARY.fullmatch(path.name)]
        if others:
            raise ValueError(
                f"checkpoint={os.fspath(self.path)!r} is a folder with other files ({others[0]!r}), and no checkpoint. "
                "Name a new folder or an empty one."
            )

    def _claim(self) -> None:
        """Make the folder and ``fit.json``, unless another process was faster; it must then run the same fit.

        Files that were not written to their end before a process died are deleted.
        """
        fit = self.about["fit"]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name in filter(TEMPORARY.fullmatch, os.listdir(self.path)):
                (self.path / name).unlink(missing_ok=True)
            self._create()
        except FileExistsError:
            self._about = None
            self._about = self._found(fit)
        except OSError as error:
            text = f"checkpoint={os.fspath(self.path)!r} cannot be written ({error.strerror}). Name another folder."
            raise OSError(error.errno, text) from error

    def _create(self) -> None:
        """Write ``fit.json``; raise a FileExistsError if it exists."""
        text = json.dumps(self.about, indent=1)
        temporary = self.path / f".{ABOUT}.{uuid4().hex}.tmp"
        write_whole(temporary, text.encode())
        try:
            os.link(temporary, self.path / ABOUT)  # fails if it exists, as a rename would not
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            if (self.path / ABOUT).exists():
                raise FileExistsError from None
            write_whole(self.path / ABOUT, text.encode())
        finally:
            temporary.unlink(missing_ok=True)
        self.is_new = True


class TrainingFiles:
    """The files of one training: a store of its snapshots.

    Parameters
    ----------
    folder : CheckpointFolder
    number : int
        The trainings of a fit are numbered from 1.
    title : str
        Names the model in messages.
    """

    def __init__(self, folder: CheckpointFolder, number: int, title: str) -> None:
        self.folder, self.title = folder, title
        self.name = f"training-{number:02d}"
        self.last_time, self.last_epochs = monotonic(), 0

    @property
    def _states(self) -> list[Path]:
        """States between epochs, the newest one first."""
        return sorted(self.folder.path.glob(f"{self.name}-epoch-*.safetensors"), reverse=True)

    def newest(self) -> Snapshot | None:
        """Return the last snapshot that is intact; files that are not are deleted."""
        for path in [self.folder.path / f"{self.name}-end.safetensors", *self._states]:
            try:
                snapshot = read_snapshot(path, self.folder.digest)
            except FileNotFoundError:
                continue
            except (DamagedFileError, ForeignFileError, OSError) as error:
                text = f"{os.fspath(path)!r} is damaged ({error}). The fit continues from the state before it."
                warn_user(text)
                with suppress(OSError):
                    path.unlink()
                continue
            self._say(snapshot)
            self.last_time, self.last_epochs = monotonic(), snapshot.numbers["n_epochs"]
            return snapshot
        return None

    def _say(self, snapshot: Snapshot) -> None:
        """Print where training continues, if the fit is verbose."""
        if self.folder.verbose:
            n_epochs, is_complete = snapshot.numbers["n_epochs"], snapshot.numbers["is_complete"]
            found = f"all of its {n_epochs} epochs" if is_complete else f"{n_epochs} epochs, and continues"
            print(f"{self.title}: checkpoint {os.fspath(self.folder.path)!r} has {found}")

    def is_due(self, n_epochs: int) -> bool:
        """Tell whether the last snapshot is older than one of the intervals."""
        minutes, epochs = self.folder.checkpoint.every_minutes, self.folder.checkpoint.every_epochs
        since = (monotonic() - self.last_time) / 60
        return (minutes is not None and since >= minutes) or (
            epochs is not None and n_epochs - self.last_epochs >= epochs
        )

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot, then delete old ones; if the disk is full, warn and keep them."""
        self.last_time, self.last_epochs = monotonic(), snapshot.numbers["n_epochs"]
        place = "end" if snapshot.numbers["is_complete"] else f"epoch-{self.last_epochs:06d}"
        try:
            write_snapshot(self.folder.path / f"{self.name}-{place}.safetensors", snapshot, self.folder.digest)
            for path in self._states[N_KEPT:]:
                path.unlink(missing_ok=True)
        except OSError as error:
            self.folder.warn_once(
                f"The checkpoint in {os.fspath(self.folder.path)!r} could not be written ({error}). The fit goes on, "
                "and tries again at the next interval; the last state that was written is intact."
            )


def write_snapshot(path: Path, snapshot: Snapshot, fit: str) -> None:
    """Write a snapshot of a fit to a file."""
    arrays = {name: np.asarray(value.detach().cpu().numpy(), order="C") for name, value in snapshot.arrays.items()}
    write_file(path, KEY, FORMAT, {"fit": fit, "numbers": snapshot.numbers}, arrays)


def read_snapshot(path: Path, fit: str) -> Snapshot:
    """Read a snapshot; raise a DamagedFileError unless the file is intact and of this fit."""
    entry, arrays = read_file(path, KEY)
    document = checked_document(entry, arrays)
    if document["fit"] != fit:
        raise DamagedFileError("it belongs to another fit")
    # copies: memory of torch is aligned, on which the last bits may depend
    return Snapshot(document["numbers"], {name: torch.tensor(array) for name, array in arrays.items()})


def end_of(state: Path) -> Path:
    """The file with the end of the training that has this state."""
    return state.with_name(re.sub(r"-epoch-\d+", "-end", state.name))


def digest_of(value: Any) -> str:
    """SHA-256 of plain values."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Say in which entries two fingerprints differ; digests have names that begin with an article."""
    names = [name for name in dict.fromkeys([*there, *here]) if there.get(name) != here.get(name)]
    texts = [
        f"{name} differ" if name.startswith("the ") else f"{name} was {shown(there, name)} and is {shown(here, name)}"
        for name in names
    ]
    return "; ".join(texts)


def shown(entries: Mapping[str, Any], name: str) -> str:
    """An entry as a short text."""
    text = repr(entries[name]) if name in entries else "not there"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
