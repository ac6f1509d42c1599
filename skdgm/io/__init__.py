"""Save estimators without pickle, and load them without running code that comes with the file."""

from skdgm.io._file import load, save
from skdgm.io._foreign import TRUSTED_TYPES

__all__ = ["TRUSTED_TYPES", "load", "save"]
