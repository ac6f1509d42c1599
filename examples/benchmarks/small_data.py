"""Benchmark of default estimators on small data: seconds of M2Classifier on digits with 50 labels, VAE on iris."""

from __future__ import annotations

from _table import Row, in_turn, record
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import train_test_split

from skdgm import VAE, M2Classifier
from skdgm.datasets import mask_labels

WHY = (
    "1,000 steps of about 6 ms of processor time, of which the matrix products take 2; most of the rest is the "
    "dispatch of small operations"
)


def main() -> None:
    """Time both."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.3, stratify=y, random_state=0)
    y_few = mask_labels(y_train, 50, random_state=0)
    m2, vae, iris = M2Classifier(random_state=0), VAE(random_state=0), load_iris().data
    median = in_turn({"m2": lambda: m2.fit(X_train, y_few), "vae": lambda: vae.fit(iris)}, 5)
    quality = f"accuracy {100 * m2.score(X_test, y_test):.1f} %"
    work = "default `M2Classifier` on digits, 1,257 rows"
    rows = [
        Row(work, "", f"{median['m2']:.1f} s", "", median["m2"], "≤ 10 s", quality, WHY),
        Row("default `VAE` on iris", "", f"{median['vae']:.1f} s", "", median["vae"], "≤ 2 s"),
    ]
    record(__file__, rows)


if __name__ == "__main__":
    main()
