"""Tests of sources: they return the rows at the requested indices, and their orders are permutations."""

import threading

import numpy as np
import pytest
import torch

from skdgm import sources
from skdgm.readers import ArrayReader
from skdgm.sources import (
    BlockwiseSource,
    CorruptedSource,
    DynamicBinarization,
    EncodedSource,
    GaussianCodeSource,
    ResidentSource,
    Subset,
)

CPU = torch.device("cpu")
N = 1000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def to_tensor(block):
    return torch.from_numpy(np.array(block, dtype=np.float32))


@pytest.fixture
def array():
    """Rows that contain their own index."""
    return np.arange(N)[:, None] + np.linspace(0, 0.5, 3, dtype=np.float32)


@pytest.fixture
def labels():
    return torch.arange(N) % 7, torch.arange(N).float()


def on_disk(array, **kwargs):
    return BlockwiseSource(array, lambda block: (to_tensor(block), None), CPU, **{"blocks_per_pool": 64, **kwargs})


SOURCES = {
    "Resident": lambda array: ResidentSource(to_tensor(array)),
    "OnDisk": lambda array: on_disk(array, block=32),
    "OnDisk, one block": lambda array: on_disk(array, block=10**6),
    "OnDisk, blocks of one": lambda array: on_disk(array, block=1),
    "SampledBinary": lambda array: DynamicBinarization(ResidentSource(to_tensor(array / array.max()))),
    "Codes": lambda array: GaussianCodeSource(to_tensor(array), torch.zeros(N, 3)),
    "Subset": lambda array: Subset(ResidentSource(to_tensor(array)), torch.arange(N).flip(0)),
    "Subset of OnDisk": lambda array: Subset(on_disk(array, block=32), torch.arange(0, N, 3)),
    "Subset of SampledBinary": lambda array: Subset(
        DynamicBinarization(ResidentSource(to_tensor(array / N))), torch.arange(50)
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_an_order_is_a_new_permutation_at_each_call_and_seeded(name, array):
    """Every row once; another order at the next call; the same from the same seed, without the global generator."""
    source, rng, before = SOURCES[name](array), generator(), torch.get_rng_state()
    first, second = source.order(rng), source.order(rng)
    for order in (first, second):
        assert torch.equal(order.sort().values, torch.arange(source.n_rows))
    assert not torch.equal(first, second) and not torch.equal(first, torch.arange(source.n_rows))
    assert torch.equal(source.order(generator()), first)
    assert torch.equal(torch.get_rng_state(), before)


# --- pools of rows on disk ------------------------------------------------------------------------------------------


class CountingReader(ArrayReader):
    """Records the rows of every read, in chunks."""

    def __init__(self, array, chunk_rows=1):
        super().__init__(array)
        self.chunk_rows, self.reads = chunk_rows, []

    def read(self, indices):
        self.reads.append(indices.copy())
        return super().read(indices)


def steps(source, n_steps, seed=0):
    """The batches of a pass, in the slices that the engine takes, and their order."""
    order = source.order(generator(seed))
    return order, [source.rows(part, None) for part in order.tensor_split(n_steps)]


@pytest.mark.parametrize("n_steps", [1, 7, 100, N])
@pytest.mark.parametrize("part_bytes", [1, 100, 1 << 23])
def test_a_pass_in_order_reads_every_row_once(n_steps, part_bytes, array, labels, monkeypatch):
    """Steps across pools, too: the rows, labels and weights are those of memory, and at most one pool is read ahead."""
    monkeypatch.setattr(sources, "PART_BYTES", part_bytes)
    reader, memory = CountingReader(array), ResidentSource(to_tensor(array), None, *labels)
    disk = on_disk(reader, y=labels[0], weight=labels[1], block=8, blocks_per_pool=5)
    order, batches = steps(disk, n_steps)
    for indices, batch in zip(order.tensor_split(n_steps), batches, strict=True):
        expected = memory.rows(indices, None)
        assert torch.equal(batch.x, expected.x) and batch.observed is None
        assert torch.equal(batch.y, expected.y) and torch.equal(batch.weight, expected.weight)
    assert sorted(np.concatenate(reader.reads).tolist()) == list(range(N))
    assert len(reader.reads) == N // 40 and all(len(np.unique(rows // 8)) == 5 for rows in reader.reads)


def test_no_more_than_one_pool_is_read_ahead(array):
    """While a pool is in use, the next one is read; threads end with the pass."""
    before = threading.enumerate()
    reader = CountingReader(array)
    disk = on_disk(reader, block=8, blocks_per_pool=5)
    for step, indices in enumerate(disk.order(generator()).split(10)):
        assert len(reader.reads) <= min(25, 2 + max(0, step - 1) // 4)
        disk.rows(indices, None)
    assert len(reader.reads) == 25
    for thread in set(threading.enumerate()) - set(before):
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_passes_end_early_and_jump(array):
    """Slices of the last order in any sequence, of older orders, and any other indices: always the rows asked for."""
    disk, x = on_disk(array, block=8, blocks_per_pool=5), to_tensor(array)
    old, order = disk.order(generator(1)), disk.order(generator(2))
    for indices in (
        order[500:700],
        order[90:95],
        order[:0],
        order[999:],
        order[5:900:3],
        old[80:200],
        order[80:200].clone(),
    ):
        assert torch.equal(disk.rows(indices, None).x, x[indices])


def test_masks_of_parts_are_joined(array, monkeypatch):
    """A step of parts with and without missing cells has a mask; one without missing cells has none."""
    monkeypatch.setattr(sources, "PART_BYTES", 5 * 4 * 3)

    def prepare(rows):
        missing = rows[:, :1] >= N - 10
        return to_tensor(rows), torch.from_numpy(~missing.repeat(3, 1)) if missing.any() else None

    disk = BlockwiseSource(array, prepare, CPU, block=8, blocks_per_pool=5)
    order, batches = steps(disk, 10)
    for indices, batch in zip(order.tensor_split(10), batches, strict=True):
        missing = indices >= N - 10
        assert (batch.observed is None) == (not missing.any())
        if batch.observed is not None:
            assert torch.equal(batch.observed, ~missing[:, None].expand(-1, 3))
    assert sum(batch.observed is not None for batch in batches) < 10


def test_an_error_of_the_thread_is_raised_by_the_step(array):
    """Where the rows are needed, also when it is asked again."""

    class Broken(ArrayReader):
        def read(self, indices):
            raise OSError("the disk is gone")

    disk = on_disk(Broken(array), block=8)
    order = disk.order(generator())
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            disk.rows(order[:10], None)


@pytest.mark.parametrize(
    "shape, chunk, block, pool",
    [
        ((10**6, 784), 1, 83, 20648),  # 256 kB and 64 MB of float32
        ((10**6, 784), 1000, 1000, 21000),
        ((10**6, 784), 10**5, 10**5, 4 * 10**5),  # large chunks of a file: 4 of them
        ((10**6, 10**8), 1, 1, 4),
        ((10**6, 1), 1, 65536, 65536 * 256),
    ],
)
def test_blocks_are_whole_chunks_of_about_a_size_in_memory(shape, chunk, block, pool):
    """In rows: a chunk is never read for two pools, and pools do not grow with the number of columns."""
    reader = CountingReader(np.broadcast_to(np.float32(0), shape), chunk)
    disk = on_disk(reader, blocks_per_pool=None)
    assert disk.block == block and disk.block % chunk == 0
    assert disk.block * disk.blocks_per_pool == pytest.approx(pool, rel=0.05)


def test_a_subset_on_disk_reads_only_its_rows(array, labels):
    """It has rows, labels and an order of its own; few rows are read once and stay in memory."""
    reader = CountingReader(array)
    disk = on_disk(reader, y=labels[0], weight=labels[1], block=8, blocks_per_pool=5)
    many, few = disk.subset(torch.arange(1, N, 2)), disk.subset(torch.tensor([3, 999, 3, 17]))
    assert isinstance(few, ResidentSource) and [rows.tolist() for rows in reader.reads] == [[3, 17, 999]]
    assert few.columns.x[:, 0].tolist() == [3.0, 999.0, 3.0, 17.0] and few.columns.y.tolist() == [3, 5, 3, 3]
    order, batches = steps(many, 7)
    assert torch.equal(order.sort().values, torch.arange(N // 2))
    assert torch.equal(torch.cat([batch.x[:, 0] for batch in batches]), 1.0 + 2 * order)
    assert torch.equal(torch.cat([batch.weight for batch in batches]), 1.0 + 2 * order)
    assert sorted(np.concatenate(reader.reads[1:]).tolist()) == list(range(1, N, 2))


@pytest.mark.parametrize("block", [1, 7, 256, 10**6])
@pytest.mark.parametrize("memmap", [False, True])
def test_on_disk_gives_the_rows_of_resident(array, labels, block, memmap, tmp_path):
    """Rows, labels and weights are the same, in the requested order, with repeats, even from a read-only memmap."""
    if memmap:
        np.save(tmp_path / "rows.npy", array)
        array = np.load(tmp_path / "rows.npy", mmap_mode="r")
    disk, memory = (
        on_disk(array, y=labels[0], weight=labels[1], block=block),
        ResidentSource(to_tensor(array), None, *labels),
    )
    assert disk.n_rows == memory.n_rows == N
    for indices in (torch.tensor([5, 999, 0, 5, 400]), disk.order(generator())[:50], torch.tensor([3])):
        read, gathered = disk.rows(indices, None), memory.rows(indices, None)
        assert read.observed is None and gathered.observed is None
        for mine, theirs in ((read.x, gathered.x), (read.y, gathered.y), (read.weight, gathered.weight)):
            assert torch.equal(mine, theirs)


def test_on_disk_reads_neighbors_together(array):
    """Within 64 blocks' worth of rows, its order touches at most 64 blocks, and mixes rows of many of them."""
    order = on_disk(np.zeros((64 * 8 * 3, 1)), block=8).order(generator())
    for stretch in order.split(64 * 8):
        assert len(torch.unique(stretch // 8)) == 64
        assert len(torch.unique(stretch[:100] // 8)) > 40


def test_resident_carries_mask_labels_and_weights(labels):
    """All four columns follow the index."""
    x = torch.arange(N).float()[:, None]
    indices = torch.tensor([4, 2, 2])
    batch = ResidentSource(x, x > 3, *labels).rows(indices, None)
    assert batch.x.ravel().tolist() == [4.0, 2.0, 2.0] and batch.observed.ravel().tolist() == [True, False, False]
    assert torch.equal(batch.y, labels[0][indices]) and torch.equal(batch.weight, labels[1][indices])


def test_sampled_binary_draws_again_with_the_gray_value_as_probability(labels):
    """0/1 rows differ at each visit, with the right frequencies (4 standard errors); 0, 1 and labels are kept."""
    gray = torch.tensor([[0.0, 0.1, 0.5, 0.9, 1.0]])
    source, rng = DynamicBinarization(ResidentSource(gray.expand(4000, 5), None, torch.arange(4000))), generator()
    batch = source.rows(torch.arange(4000), rng)
    error = 4 * torch.sqrt(gray * (1 - gray) / 4000)
    assert ((batch.x.mean(0) - gray).abs() <= error).all()
    assert set(batch.x.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(source.rows(torch.arange(4000), rng).x, batch.x)
    assert torch.equal(batch.y, torch.arange(4000)) and batch.observed is None


def test_codes_are_drawn_again_around_their_means(labels):
    """mean + sd * noise of the requested row: moments within 4 standard errors, other draws at each visit."""
    mean, sd = torch.tensor([[0.0, 5.0], [-3.0, 1.0]]), torch.tensor([[1.0, 0.1], [2.0, 0.0]])
    source, rng = GaussianCodeSource(mean, sd, torch.tensor([3, 8])), generator()
    batch = source.rows(torch.ones(4000, dtype=torch.long), rng)
    assert batch.x[:, 0].mean().item() == pytest.approx(-3, abs=4 * 2 / 4000**0.5)
    assert batch.x[:, 0].std().item() == pytest.approx(2, rel=0.05)
    assert torch.equal(batch.x[:, 1], torch.ones(4000)) and set(batch.y.tolist()) == {8}
    assert source.rows(torch.tensor([0]), rng).x.tolist() != source.rows(torch.tensor([0]), rng).x.tolist()


@pytest.mark.parametrize("name", SOURCES)
def test_a_subset_of_any_source_has_its_rows(name, array):
    """``subset(indices).rows(i)`` are ``rows(indices[i])``; in memory, orders and draws are those of ``Subset``."""
    source = SOURCES[name](array)
    indices = torch.randperm(source.n_rows, generator=generator(1))[:40].sort().values
    subset, reference = source.subset(indices), Subset(source, indices)
    assert subset.n_rows == 40 and torch.equal(subset.order(generator()).sort().values, torch.arange(40))
    part = torch.tensor([30, 0, 39, 0])
    assert torch.equal(subset.rows(part, generator()).x, reference.rows(part, generator()).x)
    assert torch.equal(
        subset.subset(part).rows(torch.tensor([2, 1]), generator()).x, subset.rows(part[[2, 1]], generator()).x
    )
    if "OnDisk" not in name:
        assert torch.equal(subset.order(generator()), reference.order(generator()))


@pytest.mark.parametrize("make", [lambda a: ResidentSource(to_tensor(a)), lambda a: on_disk(a, block=32)])
def test_a_subset_gives_the_rows_at_its_indices(make, array):
    """rows(i) of a subset are the source's rows at indices[i]; its order has all of these and no others."""
    indices = torch.tensor([7, 3, 998, 400])
    subset = Subset(make(array), indices)
    assert subset.n_rows == 4
    assert subset.rows(torch.tensor([2, 0]), None).x[:, 0].tolist() == [998.0, 7.0]
    seen = subset.rows(subset.order(generator()), None).x[:, 0]
    assert sorted(seen.tolist()) == [3.0, 7.0, 400.0, 998.0]


WRAPPERS = {
    "itself": lambda source: source,
    "SampledBinary": DynamicBinarization,
    "Corrupted": lambda source: CorruptedSource(source, "flip", 0.1),
    "Encoded": lambda source: EncodedSource(source, lambda x, rng: x),
    "Subset": lambda source: Subset(source, torch.arange(source.n_rows)),
    "two wrappers": lambda source: CorruptedSource(DynamicBinarization(source), "dropout", 0.1),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_subset_on_disk_is_read_in_blocks(name):
    """Through any wrappers, the order of a subset follows the blocks, so the disk is not read row by row."""
    source = on_disk(np.zeros((64 * 4 * 4, 1)), block=4)
    indices = torch.arange(0, source.n_rows, 2)
    order = Subset(WRAPPERS[name](source), indices).order(generator())
    assert torch.equal(order.sort().values, torch.arange(len(indices)))
    for stretch in indices[order].split(128):
        assert len(torch.unique(stretch // 4)) == 64


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrapping_changes_no_order(name, array):
    """It is exactly that of the wrapped source: a permutation for resident rows, shuffled blocks for rows on disk."""
    for source in (ResidentSource(to_tensor(array)), on_disk(array, block=32)):
        assert torch.equal(WRAPPERS[name](source).order(generator()), source.order(generator()))
    subset = Subset(WRAPPERS[name](ResidentSource(to_tensor(array))), torch.arange(0, N, 3))
    assert torch.equal(subset.order(generator()), torch.randperm(subset.n_rows, generator=generator()))


def test_a_subset_may_repeat_rows(array):
    """Every entry of its indices occurs once, even if several entries are the same row."""
    subset = Subset(on_disk(array, block=32), torch.tensor([7, 7, 500, 7]))
    assert subset.order(generator()).sort().values.tolist() == [0, 1, 2, 3]


def test_encoded_rows_are_drawn_again_in_the_order_of_the_wrapped_source(array):
    """``encode`` of the requested rows, without a gradient, with other draws at each visit."""
    weight = torch.ones((), requires_grad=True)
    source = EncodedSource(
        ResidentSource(to_tensor(array)), lambda x, rng: weight * x[:, :1] + 0.1 * torch.rand(1, generator=rng)
    )
    indices = torch.tensor([5, 0, 999])
    rng = generator()
    first, second = source.rows(indices, rng).x, source.rows(indices, rng).x
    assert first.floor()[:, 0].tolist() == [5, 0, 999] and not torch.equal(first, second)
    assert source.n_rows == N and not first.requires_grad
    assert torch.equal(source.order(generator()), source.source.order(generator()))
