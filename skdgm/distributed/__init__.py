"""Fits of several processes together, on torch.distributed: each process has a shard of the rows.

Under torchrun, or after ``torch.distributed.init_process_group``, ``fit`` of every estimator trains one model on the
rows of all processes. ``fit`` of this module starts such processes from a script or a notebook.
"""

from skdgm.distributed._launch import fit
from skdgm.distributed._processes import ProcessError, alone, is_active
from skdgm.distributed._rows import gather_rows, shard

__all__ = ["ProcessError", "alone", "fit", "gather_rows", "is_active", "shard"]
