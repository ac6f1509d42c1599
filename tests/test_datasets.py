"""Tests of mask_labels and of the loaders, on generated files and, if SKDGM_DATA is set, on the real ones."""

import numpy as np
import pytest

from skdgm import datasets
from skdgm._labels import is_labeled
from skdgm.datasets import (
    load_binarized_mnist,
    load_cifar_patches,
    load_frey_faces,
    load_mnist,
    load_table,
    mask_labels,
)


def _y(counts, seed=0):
    return np.random.RandomState(seed).permutation(np.repeat(np.arange(len(counts)), counts))


def _counts(y_masked, n_classes):
    return [int((y_masked == label).sum()) for label in range(n_classes)]


# ------------------------------------------------------------------------------------------------------ mask_labels


@pytest.mark.parametrize("stratify", [True, False, "proportional"])
def test_exactly_n_rows_keep_their_label_and_no_label_changes(stratify):
    y = _y([40, 30, 30])
    masked = mask_labels(y, 21, stratify=stratify, random_state=0)
    kept = masked != -1
    assert kept.sum() == 21
    np.testing.assert_array_equal(masked[kept], y[kept])
    assert masked.dtype == y.dtype


def test_y_itself_is_left_alone():
    y = _y([5, 5])
    before = y.copy()
    mask_labels(y, 4, random_state=0)
    np.testing.assert_array_equal(y, before)


@pytest.mark.parametrize(
    ("available", "n_labeled", "wanted"),
    [
        ([90, 9, 9], 9, [3, 3, 3]),
        ([90, 2, 9], 9, [4, 2, 3]),  # up to the class that draws the odd label
        ([90, 1, 2], 30, [27, 1, 2]),
        ([3, 3, 3], 9, [3, 3, 3]),
        ([50, 50, 50], 3, [1, 1, 1]),
        ([1, 50], 2, [1, 1]),
    ],
)
def test_classes_keep_equal_numbers_as_far_as_they_have_them(available, n_labeled, wanted):
    counts = _counts(mask_labels(_y(available), n_labeled, random_state=1), len(available))
    assert sorted(counts) == sorted(wanted)
    assert all(count <= has for count, has in zip(counts, available, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_water_filling_leaves_no_fairer_split(seed):
    rng = np.random.RandomState(seed)
    available = rng.randint(1, 30, size=6)
    n_labeled = rng.randint(6, available.sum() + 1)
    counts = np.array(_counts(mask_labels(_y(available), n_labeled, random_state=seed), 6))
    assert counts.sum() == n_labeled
    # A class with labels left has at most one less than the class with the most.
    assert all(counts[k] >= counts.max() - 1 for k in np.flatnonzero(counts < available))


def test_the_odd_labels_go_to_classes_at_random():
    y = _y([20, 20, 20])
    lucky = {int(np.argmax(_counts(mask_labels(y, 4, random_state=seed), 3))) for seed in range(20)}
    assert lucky == {0, 1, 2}


def test_every_row_of_a_class_is_as_likely_as_another():
    y = np.repeat([0, 1], 5)
    drawn = np.mean([mask_labels(y, 4, random_state=seed) != -1 for seed in range(300)], axis=0)
    # A share of 2 in 5; 4.5 standard errors.
    np.testing.assert_allclose(drawn, 0.4, atol=4.5 * np.sqrt(0.4 * 0.6 / 300))


def test_a_plain_draw_follows_the_proportions_of_classes():
    y = _y([900, 100])
    shares = [_counts(mask_labels(y, 100, stratify=False, random_state=seed), 2)[0] / 100 for seed in range(50)]
    assert np.mean(shares) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(
    ("available", "n_labeled", "wanted"),
    [
        ([90, 9, 1], 20, [17, 2, 1]),  # 18, 1.8 and 0.2: the last class keeps one, 19 are split 90 to 9
        ([60, 30, 10], 10, [6, 3, 1]),
        ([60, 30, 10], 7, [4, 2, 1]),  # 4.2, 2.1 and 0.7
        ([1000, 1, 1, 1], 4, [1, 1, 1, 1]),
        ([1000, 1, 1, 1], 50, [47, 1, 1, 1]),
        ([97, 2, 1], 100, [97, 2, 1]),
        ([500, 60, 14], 23, [20, 2, 1]),  # 20.03, 2.40 and 0.56; once the last has one, 19.64 and 2.36
        ([7], 3, [3]),
    ],
)
def test_classes_keep_labels_in_proportion_but_at_least_one(available, n_labeled, wanted):
    masked = mask_labels(_y(available), n_labeled, stratify="proportional", random_state=1)
    assert _counts(masked, len(available)) == wanted


@pytest.mark.parametrize("seed", range(5))
def test_proportional_counts_are_the_share_rounded(seed):
    rng = np.random.RandomState(seed)
    available = rng.randint(20, 60, size=6)
    n_labeled = rng.randint(36, available.sum() + 1)  # every class has a share of two or more
    counts = np.array(_counts(mask_labels(_y(available), n_labeled, stratify="proportional", random_state=seed), 6))
    share = n_labeled * available / available.sum()
    assert counts.sum() == n_labeled
    assert (np.abs(counts - share) < 1).all()
    rounded_up = counts > share
    assert not rounded_up.any() or (share % 1)[rounded_up].min() >= (share % 1)[~rounded_up].max()


def test_ties_of_remainders_are_drawn():
    y = _y([20, 20, 20])
    options = {"stratify": "proportional"}
    lucky = {int(np.argmax(_counts(mask_labels(y, 4, **options, random_state=seed), 3))) for seed in range(20)}
    assert lucky == {0, 1, 2}


def test_proportions_are_those_of_the_labeled_rows():
    y = np.repeat([0, 1, -1], [60, 20, 300])
    masked = mask_labels(y, 8, stratify="proportional", random_state=0)
    assert _counts(masked, 2) == [6, 2]


@pytest.mark.parametrize("stratify", [True, False, "proportional"])
def test_all_labels_may_be_kept(stratify):
    y = _y([4, 6])
    np.testing.assert_array_equal(mask_labels(y, 10, stratify=stratify), y)


@pytest.mark.parametrize("stratify", [True, False, "proportional"])
def test_the_same_seed_draws_the_same_rows(stratify):
    y = _y([40, 60])
    first, again, other = (mask_labels(y, 10, stratify=stratify, random_state=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_random_state_instance_moves_on():
    y, rng = _y([40, 60]), np.random.RandomState(0)
    assert (mask_labels(y, 10, random_state=rng) != mask_labels(y, 10, random_state=rng)).any()


@pytest.mark.parametrize("stratify", [True, False, "proportional"])
def test_unlabeled_rows_stay_so(stratify):
    y = np.array([0, -1, 1, -1, 0, 1, -1])
    masked = mask_labels(y, 4, stratify=stratify, random_state=0)
    np.testing.assert_array_equal(masked, y)


def test_missing_labels_become_the_marker():
    masked = mask_labels(np.array(["a", None, "b", "a"], dtype=object), 2, random_state=0)
    assert masked[1] == -1
    assert is_labeled(masked).sum() == 2


@pytest.mark.parametrize(
    ("dtype", "marker", "wanted"),
    [
        (np.int64, -1, np.int64),
        (np.int8, -1, np.int8),
        (np.int8, 999, np.int32),
        (np.int64, float("nan"), np.float64),
        (np.int8, float("nan"), np.float64),
        (np.float32, float("nan"), np.float32),
        (np.float32, -1, np.float32),
        (np.float64, float("nan"), np.float64),
        (np.uint8, -1, np.int64),
        (np.uint64, -1, np.int64),
        (np.bool_, -1, np.int64),
        ("<U1", -1, object),
        ("<U1", "unknown", "<U7"),
        (object, -1, object),
        (object, "unknown", object),
        (np.int64, "unknown", object),
    ],
)
def test_the_result_can_hold_the_marker(dtype, marker, wanted):
    y = np.array([0, 1, 1, 0, 1, 0]).astype(dtype)
    masked = mask_labels(y, 2, random_state=0, unlabeled_value=marker)
    labeled = is_labeled(masked, marker)
    assert masked.dtype == wanted
    assert labeled.sum() == 2
    np.testing.assert_array_equal(masked[labeled], y[labeled])


def test_lists_and_series_come_back_as_arrays():
    pd = pytest.importorskip("pandas")
    y = ["cat", "dog"] * 5
    masked = mask_labels(pd.Series(y, index=range(50, 60)), 4, random_state=0)
    assert isinstance(masked, np.ndarray)
    np.testing.assert_array_equal(masked, mask_labels(y, 4, random_state=0))


@pytest.mark.parametrize(
    ("y", "n_labeled", "options", "error", "message"),
    [
        ([0, 1, -1], 3, {}, ValueError, "n_labeled=3 is more than the 2 labeled rows of y"),
        ([0, 1, -1], 3, {"stratify": False}, ValueError, "n_labeled=3 is more than the 2 labeled rows of y"),
        ([-1, -1], 1, {}, ValueError, "n_labeled=1 is more than the 0 labeled rows of y"),
        ([0, 1, 2], 2, {}, ValueError, "n_labeled=2 is less than the 3 classes of y.*or stratify=False"),
        (
            [0, 1, 2],
            2,
            {"stratify": "proportional"},
            ValueError,
            "n_labeled=2 is less than the 3 classes of y, and stratify='proportional' keeps a label",
        ),
        ([0, 1], 2, {"stratify": "even"}, ValueError, "must be True, False or 'proportional', got 'even'"),
        ([0, 1], 2, {"stratify": np.array([0, 1])}, ValueError, "must be True, False or 'proportional', got array"),
        ([0, 1], 2, {"stratify": None}, ValueError, "must be True, False or 'proportional', got None"),
        ([0, 1, 2], 0, {}, ValueError, "n_labeled must be at least 1, got 0"),
        ([0, 1, 2], 0.5, {}, TypeError, "n_labeled must be an int.*got 0.5"),
        ([0, 1, 2], True, {}, TypeError, "n_labeled must be an int.*got True"),
        ([0, 1, 2], 3, {"unlabeled_value": None}, ValueError, "unlabeled_value=None reads every row as labeled"),
        (np.array(["a", "-1"]), 1, {}, ValueError, "holds the string '-1'"),
        ([0.5, 1.25, 2.5], 2, {}, ValueError, "Unknown label type: continuous"),
        (np.zeros((3, 2)), 2, {}, ValueError, "y should be a 1d array"),
    ],
)
def test_bad_requests_are_refused(y, n_labeled, options, error, message):
    with pytest.raises(error, match=message):
        mask_labels(y, n_labeled, **options)


def test_a_plain_draw_needs_no_classes():
    y = [0.5, 1.25, 2.5]
    assert is_labeled(mask_labels(y, 2, stratify=False, random_state=0)).sum() == 2
    assert is_labeled(mask_labels([0, 1, 2], 1, stratify=False, random_state=0)).sum() == 1


# -------------------------------------------------------------------------------------------- loaders on made files


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SKDGM_DATA", str(tmp_path))
    return tmp_path


def _pixels(n, *shape, top=256):
    return np.random.RandomState(n).randint(top, size=(n, *shape)).astype(np.uint8)


def _mnist_like(path, sizes, top=256):
    parts = {f"x_{part}": _pixels(n, 784, top=top) for part, n in sizes.items()}
    parts |= {f"y_{part}": _pixels(n, top=10) for part, n in sizes.items()}
    parts |= {f"source_{part}": np.arange(n, dtype=np.uint16) for part, n in sizes.items()}
    np.savez(path, **parts)
    return parts


def test_load_mnist_stacks_train_then_test(folder):
    arrays = _mnist_like(folder / "mnist.npz", {"train": 6, "test": 4})
    bunch = load_mnist()
    assert bunch.data.dtype == np.float32
    assert bunch.target.dtype == np.int64
    np.testing.assert_array_equal(np.rint(bunch.data * 255), np.vstack([arrays["x_train"], arrays["x_test"]]))
    np.testing.assert_array_equal(bunch.target, np.hstack([arrays["y_train"], arrays["y_test"]]))
    assert bunch.images.shape == (10, 28, 28)
    assert np.shares_memory(bunch.images, bunch.data)
    assert "MNIST" in bunch.DESCR


@pytest.mark.parametrize(("subset", "rows"), [("train", slice(0, 6)), ("test", slice(6, 10))])
def test_load_mnist_subsets(folder, subset, rows):
    _mnist_like(folder / "mnist.npz", {"train": 6, "test": 4})
    X, y = load_mnist(return_X_y=True)
    X_part, y_part = load_mnist(return_X_y=True, subset=subset)
    np.testing.assert_array_equal(X_part, X[rows])
    np.testing.assert_array_equal(y_part, y[rows])


@pytest.mark.parametrize("set_folder", [True, False])
def test_load_mnist_falls_back_to_openml(tmp_path, monkeypatch, set_folder):
    X, y = _pixels(7, 784).astype(float), np.array(list("5041921"), dtype=object)
    asked = {}

    def fetch(name, **options):
        asked.update(options, name=name)
        return X, y

    monkeypatch.setattr(datasets, "fetch_openml", fetch)
    monkeypatch.setattr(datasets, "_N_MNIST_TRAIN", 5)
    monkeypatch.setenv("SKDGM_DATA", str(tmp_path)) if set_folder else monkeypatch.delenv("SKDGM_DATA", raising=False)
    data, target = load_mnist(return_X_y=True, data_home="somewhere", subset="test")
    np.testing.assert_array_equal(np.rint(data * 255), X[5:])
    assert target.tolist() == [2, 1]
    assert asked["name"] == "mnist_784"
    assert asked["version"] == 1
    assert asked["data_home"] == "somewhere"


def test_load_mnist_without_network_says_what_to_do(folder, monkeypatch):
    def fetch(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(datasets, "fetch_openml", fetch)
    with pytest.raises(OSError, match=r"could not be fetched from OpenML \(no route to host\).*mnist\.npz.*SKDGM_DATA"):
        load_mnist()


def test_load_binarized_mnist(folder):
    arrays = _mnist_like(folder / "mnist_binarized_fixed.npz", {"train": 5, "valid": 3, "test": 2}, top=2)
    X, y = load_binarized_mnist(return_X_y=True, subset="valid")
    np.testing.assert_array_equal(X, arrays["x_valid"])
    np.testing.assert_array_equal(y, arrays["y_valid"])
    bunch = load_binarized_mnist(subset="all")
    assert bunch.data.dtype == np.float32
    assert set(np.unique(bunch.data)) == {0, 1}
    assert bunch.source.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 0, 1]
    assert len(load_binarized_mnist().data) == 5


def test_load_frey_faces(folder):
    x = _pixels(4, 560)
    np.savez(folder / "frey_faces.npz", x=x)
    bunch = load_frey_faces()
    np.testing.assert_array_equal(np.rint(bunch.data * 255), x)
    assert bunch.data.dtype == np.float32
    assert bunch.images.shape == (4, 28, 20)
    assert "frames" in bunch.DESCR


def test_cifar_patches_are_cut_from_the_images(folder):
    # Each pixel (image, row, column, channel) holds a different number, so a patch shows where it came from.
    pixels = np.stack(np.meshgrid(range(3), range(32), range(32), indexing="ij"), axis=-1).astype(np.uint8)
    np.savez(folder / "cifar10_subset.npz", x_train=pixels, x_test=pixels[:1])
    bunch = load_cifar_patches(200, patch_size=5, random_state=0)
    patches = np.rint(bunch.images * 255).astype(int)
    assert bunch.data.shape == (200, 75)
    np.testing.assert_array_equal(bunch.images.reshape(200, -1), bunch.data)
    assert (patches[..., 0] == patches[:, :1, :1, 0]).all()
    np.testing.assert_array_equal(patches[..., 1] - patches[:, :1, :1, 1], np.tile(np.arange(5)[:, None], (200, 1, 5)))
    np.testing.assert_array_equal(patches[..., 2] - patches[:, :1, :1, 2], np.tile(np.arange(5), (200, 5, 1)))
    assert set(patches[:, 0, 0, 0]) == {0, 1, 2}
    assert patches[:, 0, 0, 1].min() == 0
    assert patches[:, 0, 0, 1].max() == 27
    assert patches[:, 0, 0, 2].max() == 27


def test_cifar_patches_reproduce_and_may_be_whole_images(folder):
    images = _pixels(3, 32, 32, 3)
    np.savez(folder / "cifar10_subset.npz", x_train=images, x_test=images[:1])
    first, again, other = (load_cifar_patches(9, random_state=seed).data for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    whole = load_cifar_patches(2, patch_size=32, subset="test", random_state=0).images
    np.testing.assert_array_equal(np.rint(whole * 255), np.repeat(images[:1], 2, axis=0))


_CREDIT = """checking_status,credit_risk,duration,job
A11,1,6,A173
,2,48,A172
A14,1,,
"""
_COLIC = """surgery,hospital_number,pulse,pain,outcome,surgical_lesion,lesion_1,cp_data
2,530101,66,5,2,2,11300,2
1,534817,,,,2,02208,2
,530334,40.5,3,1,2,00000,1
"""
_PIMA = """pregnancies,glucose,blood_pressure,skin_thickness,insulin,bmi,diabetes
0,148,72,35,0,33.6,1
1,0,0,0,94,0,0
"""


def _write_table(folder, name, text):
    (folder / "tables").mkdir(exist_ok=True)
    (folder / "tables" / f"{name}.csv").write_text(text, encoding="utf8")


def test_load_table_reads_categories_and_numbers_into_arrays(folder):
    _write_table(folder, "german_credit", _CREDIT)
    bunch = load_table("german_credit", as_frame=False)
    assert bunch.feature_names == ["checking_status", "duration", "job"]
    assert bunch.categorical_features == ["checking_status", "job"]
    assert bunch.data.dtype == object
    assert bunch.data[:2].tolist() == [["A11", 6.0, "A173"], [None, 48.0, "A172"]]
    assert np.isnan(bunch.data[2, 1])
    assert bunch.data[2, 2] is None
    assert bunch.target.dtype == np.int64
    assert bunch.target.tolist() == [1, 2, 1]
    assert bunch.frame is None
    assert "UCI" in bunch.DESCR


def test_load_table_returns_a_frame_where_pandas_is_installed(folder):
    pd = pytest.importorskip("pandas")
    _write_table(folder, "german_credit", _CREDIT)
    bunch, forced = load_table("german_credit"), load_table("german_credit", as_frame=True)
    assert isinstance(bunch.data, pd.DataFrame)
    assert bunch.data.dtypes.astype(str).tolist() == ["category", "float64", "category"]
    assert bunch.data["checking_status"].isna().tolist() == [False, True, False]
    assert bunch.target.name == "credit_risk"
    assert bunch.frame.columns.tolist() == [*bunch.feature_names, "credit_risk"]
    pd.testing.assert_frame_equal(bunch.frame, forced.frame)
    X, y = load_table("german_credit", return_X_y=True)
    pd.testing.assert_frame_equal(X, bunch.data)
    pd.testing.assert_series_equal(y, bunch.target)


def test_load_table_needs_no_pandas(folder, monkeypatch):
    _write_table(folder, "german_credit", _CREDIT)
    monkeypatch.setattr(datasets, "find_spec", lambda name: None)
    X, y = load_table("german_credit", return_X_y=True)
    assert isinstance(X, np.ndarray)
    assert isinstance(y, np.ndarray)
    with pytest.raises(ImportError, match="as_frame=True needs pandas.*pip install pandas"):
        load_table("german_credit", as_frame=True)


def test_horse_colic_drops_rows_without_outcome_and_what_is_known_afterwards(folder):
    _write_table(folder, "horse_colic", _COLIC)
    bunch = load_table("horse_colic", as_frame=False)
    assert bunch.feature_names == ["surgery", "pulse", "pain"]
    assert bunch.categorical_features == ["surgery", "pain"]
    assert bunch.data.tolist() == [["2", 66.0, "5"], [None, 40.5, "3"]]
    assert bunch.target.tolist() == [2, 1]


def test_pima_zeros_are_missing_where_they_cannot_be_true(folder):
    _write_table(folder, "pima_diabetes", _PIMA)
    X = load_table("pima_diabetes", as_frame=False).data
    nan = np.nan
    np.testing.assert_array_equal(X, [[0, 148, 72, 35, nan, 33.6], [1, nan, nan, nan, 94, nan]])
    assert X.dtype == np.float64


def test_classes_in_words_are_objects_beside_which_a_marker_fits(folder):
    _write_table(folder, "sonar", "x1,target\n0.5,R\n0.25,M\n")
    y = load_table("sonar", as_frame=False).target
    assert y.dtype == object
    assert mask_labels(y, 2).tolist() == ["R", "M"]


def test_adult_comes_without_its_sampling_weight(folder):
    _write_table(folder, "adult", "age,workclass,fnlwgt,income\n39,,77516,<=50K\n")
    bunch = load_table("adult", as_frame=False)
    assert bunch.feature_names == ["age", "workclass"]
    assert bunch.data.tolist() == [[39.0, None]]


@pytest.mark.parametrize(
    ("loader", "name"),
    [
        (lambda: load_table("wheat_seeds"), r"tables/wheat_seeds\.csv"),
        (load_binarized_mnist, "mnist_binarized_fixed.npz"),
        (load_frey_faces, "frey_faces.npz"),
        (load_cifar_patches, "cifar10_subset.npz"),
    ],
)
def test_a_missing_file_is_named_with_its_source(loader, name, tmp_path, monkeypatch):
    monkeypatch.setenv("SKDGM_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"{name} was not found in SKDGM_DATA=.*made from"):
        loader()
    monkeypatch.delenv("SKDGM_DATA")
    with pytest.raises(FileNotFoundError, match=rf"{name} was not found as the environment variable SKDGM_DATA is not"):
        loader()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load_mnist(subset="valid"), r"subset='valid' is unknown. Use one of \('train', 'test', 'all'\)"),
        (lambda: load_binarized_mnist(subset="val"), "subset='val' is unknown.*'valid'"),
        (lambda: load_cifar_patches(subset="valid"), "subset='valid' is unknown"),
        (lambda: load_table("iris"), r"name='iris' is unknown. Use one of \('adult', 'breast_cancer_recurrence',"),
        (lambda: load_table("sonar", as_frame="yes"), "as_frame must be True, False or 'auto', got 'yes'"),
        (lambda: load_cifar_patches(0), "n_patches must be an int, at least 1; got 0"),
        (lambda: load_cifar_patches(patch_size=33), "patch_size must be an int, at least 1 and at most 32; got 33"),
        (lambda: load_cifar_patches(patch_size=8.0), "patch_size must be an int"),
    ],
)
def test_bad_arguments_of_loaders_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -------------------------------------------------------------------------------------------- loaders on real files


@pytest.mark.needs_files("mnist.npz")
def test_the_real_mnist(data_folder):
    bunch = load_mnist()
    assert bunch.data.shape == (70_000, 784)
    assert (bunch.data.min(), bunch.data.max()) == (0, 1)
    assert bunch.data[:60_000].mean(dtype=float) == pytest.approx(0.13066, abs=5e-6)
    assert bunch.target[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert bunch.target[60_000:60_010].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(bunch.target[60_000:]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.needs_files("mnist.npz", "mnist_binarized_fixed.npz")
def test_the_real_binarized_mnist_agrees_with_the_gray_images(data_folder):
    binary = load_binarized_mnist(subset="test")
    X, y = load_mnist(return_X_y=True, subset="test")
    np.testing.assert_array_equal(binary.target, y[binary.source])
    assert not ((binary.data == 1) & (X[binary.source] == 0)).any()
    assert not ((binary.data == 0) & (X[binary.source] == 1)).any()


@pytest.mark.needs_files("frey_faces.npz")
def test_the_real_frey_faces(data_folder):
    data = load_frey_faces().data
    assert data.shape == (1965, 560)
    assert (data.min() * 255, data.max() * 255) == pytest.approx((8, 238))


@pytest.mark.needs_files("cifar10_subset.npz")
def test_the_real_cifar_patches(data_folder):
    data = load_cifar_patches(500, random_state=0).data
    assert data.shape == (500, 192)
    assert data.dtype == np.float32
    assert 0 <= data.min() < 0.1
    assert 0.9 < data.max() <= 1


@pytest.mark.needs_files("tables")
@pytest.mark.parametrize(
    ("name", "shape", "n_categorical", "n_missing", "classes"),
    [
        ("adult", (32561, 13), 8, 4262, ["<=50K", ">50K"]),
        ("breast_cancer_recurrence", (286, 9), 8, 9, ["no-recurrence-events", "recurrence-events"]),
        ("horse_colic", (299, 21), 14, 1602, [1, 2, 3]),
        ("german_credit", (1000, 20), 13, 0, [1, 2]),
        ("pima_diabetes", (768, 8), 0, 652, [0, 1]),
        ("sonar", (208, 60), 0, 0, ["M", "R"]),
        ("ionosphere", (351, 34), 0, 0, ["b", "g"]),
        ("wheat_seeds", (210, 7), 0, 0, [1, 2, 3]),
        ("ecoli", (336, 7), 0, 0, ["cp", "im", "imL", "imS", "imU", "om", "omL", "pp"]),
        ("glass", (214, 9), 0, 0, [1, 2, 3, 5, 6, 7]),
        ("banknote", (1372, 4), 0, 0, [0, 1]),
    ],
)
def test_the_real_tables(name, shape, n_categorical, n_missing, classes, data_folder):
    table = load_table(name, as_frame=False)
    missing = sum(value is None or value != value for value in table.data.ravel())
    assert table.data.shape == shape
    assert len(table.feature_names) == shape[1]
    assert len(table.categorical_features) == n_categorical
    assert missing == n_missing
    assert np.unique(table.target).tolist() == classes


@pytest.mark.needs_files("tables")
def test_every_name_in_the_description_of_a_table_is_in_its_file(data_folder):
    for name, table in datasets._TABLES.items():
        header = (data_folder / "tables" / f"{name}.csv").read_text("utf8").partition("\n")[0].split(",")
        exact = [column for column in table.dropped if not column.endswith("_")]
        assert {table.target, *table.categorical, *table.zero_is_missing, *exact} <= set(header)
