"""One M2Classifier on the rows of all processes; each process reads its shard of the table.

torchrun --nproc-per-node=2 data_parallel.py
"""

from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score

import skdgm
from skdgm.datasets import mask_labels
from skdgm.distributed import gather_rows, shard

X, y_true = load_digits(return_X_y=True)  # for a large table: np.load("X.npy", mmap_mode="r")
y = mask_labels(y_true, 100, random_state=0)
own = shard(len(X))  # a slice: the rows of this process

model = skdgm.M2Classifier(max_iter=15, random_state=0).fit(X[own] / 16, y[own])

predicted = gather_rows(model.predict(X[own] / 16))  # of all processes, in the order of X
if own.start == 0:  # only one process writes
    skdgm.save(model, "m2.skdgm")
    print(f"accuracy {accuracy_score(y_true, predicted):.2f}")
