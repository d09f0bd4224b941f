import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.data import arrays


def _arrays(train=20, test=10, shape=(4, 4, 3)):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (train + test, *shape), dtype=np.uint8)
  labels = np.arange(train + test) % 5
  return [images[:train], labels[:train], images[train:], labels[train:]]


class TestMakeDataset:
  def test_arrays_and_statistics(self):
    images, labels, test_images, test_labels = _arrays()
    data = arrays.make_dataset("d", images, labels, test_images, test_labels)
    assert data.num_classes == 5
    assert data.train.images.dtype == jnp.uint8
    assert data.train.labels.dtype == data.test.labels.dtype == jnp.int32
    np.testing.assert_array_equal(data.test.images, test_images)
    np.testing.assert_array_equal(data.train.labels, labels)
    axes = (0, 1, 2)
    np.testing.assert_allclose(data.mean, images.mean(axes) / 255, rtol=1e-9)
    np.testing.assert_allclose(data.std, images.std(axes) / 255, rtol=1e-9)

  @pytest.mark.parametrize("which", range(4))
  def test_digest_sees_every_array(self, which):
    before = arrays.make_dataset("d", *_arrays()).digest
    assert before == arrays.make_dataset("other", *_arrays()).digest
    changed = _arrays()
    changed[which] = changed[which][::-1].copy()
    assert before != arrays.make_dataset("d", *changed).digest

  @pytest.mark.parametrize(
    ("which", "change", "message"),
    [
      (0, lambda x: x / 255, r"train images .*float64\[20, 4, 4, 3\]; round"),
      (0, lambda x: x[0, 0], r"train images .*uint8\[4, 3\]"),
      (2, lambda x: x[..., 0], r"\(4, 4, 3\), test images \(4, 4, 1\)"),
      (2, lambda x: x[:, :3], r"\(4, 4, 3\), test images \(3, 4, 3\)"),
      (2, lambda x: x[:0], "not empty"),
      (1, lambda x: x[:, None], r"train labels .*by labels\[:, 0\]"),
      (1, lambda x: x[:-1], r"train labels .*\[20\].*\[19\]"),
      (3, lambda x: x.astype(float), "test labels .*float64"),
      (1, lambda x: x + 1, "0..K-1, .* from 1 to 5"),
      (1, lambda x: x * 0, "only one class"),
      (3, lambda x: x + 1, r"0\.\.4 as in train, got 1\.\.5"),
      (3, lambda x: x - 1, r"got -1\.\.3"),
      (0, lambda x: x * np.array([1, 0, 1], np.uint8), "channel 1 .*constant"),
    ],
  )
  def test_refuses(self, which, change, message):
    broken = _arrays()
    broken[which] = change(broken[which])
    with pytest.raises(ValueError, match=f"^mine: .*{message}"):
      arrays.make_dataset("mine", *broken)


def _epoch(key, epoch, num_examples, batch_size):
  steps = num_examples // batch_size
  return jax.lax.map(
    lambda i: arrays.batch_indices(
      key, epoch * steps + i, num_examples, batch_size
    ),
    jnp.arange(steps),
  )


class TestBatchIndices:
  # Around squares, where the Feistel domain is tight or loose; powers; primes.
  @pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 17, 1437, 50_000])
  def test_is_a_bijection(self, n):
    index = arrays.batch_indices(jax.random.key(n), 0, n, n)
    assert index.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(index), np.arange(n))

  def test_an_epoch_visits_each_example_once(self):
    key = jax.random.key(0)
    first, second = (np.asarray(_epoch(key, e, 1000, 64)) for e in (0, 1))
    for index in (first, second):
      assert index.shape == (15, 64)
      assert len(np.unique(index)) == 960
      assert 0 <= index.min() and index.max() < 1000
    assert (first == second).mean() < 0.02

  def test_is_a_function_of_key_and_step_alone(self):
    jitted = jax.jit(arrays.batch_indices, static_argnums=(2, 3))
    key, other_key = jax.random.split(jax.random.key(1))
    for step in (0, 5, 29, 30, 31):
      np.testing.assert_array_equal(
        jitted(key, jnp.int32(step), 1000, 32),
        arrays.batch_indices(key, step, 1000, 32),
      )
    other = jitted(other_key, jnp.int32(0), 1000, 32)
    assert (arrays.batch_indices(key, 0, 1000, 32) != other).any()
    assert jitted._cache_size() == 1

  def test_neighbours_and_positions_are_not_correlated(self):
    n = 20_000
    order = np.asarray(arrays.batch_indices(jax.random.key(2), 0, n, n))
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 4 / np.sqrt(n)
    assert abs(np.corrcoef(order, np.arange(n))[0, 1]) < 4 / np.sqrt(n)

  def test_every_position_gets_every_example(self):
    n, draws = 12, 6000
    keys = jax.random.split(jax.random.key(3), draws)
    orders = jax.vmap(lambda k: arrays.batch_indices(k, 0, n, n))(keys)
    counts = np.stack([(np.asarray(orders) == i).sum(0) for i in range(n)])
    chi2 = ((counts - draws / n) ** 2 / (draws / n)).sum()
    freedom = (n - 1) ** 2
    assert abs(chi2 - freedom) < 4 * np.sqrt(2 * freedom)

  def test_classes_are_balanced_in_batches_of_sorted_labels(self):
    labels = np.arange(50_000) // 5_000
    index = np.asarray(_epoch(jax.random.key(4), 0, 50_000, 100))
    counts = np.stack([(labels[index] == c).sum(1) for c in range(10)])
    # Binomial(100, 0.1): variance 9.
    assert 8 < counts.var() < 10

  @pytest.mark.parametrize("batch_size", [0, 11])
  def test_refuses_a_batch_that_is_no_part(self, batch_size):
    with pytest.raises(ValueError, match=r"1\.\.10 .*got"):
      arrays.batch_indices(jax.random.key(0), 0, 10, batch_size)


class TestHalves:
  @pytest.mark.parametrize(
    ("fraction", "size"), [(0.5, 50), (0.8, 81), (1.0, 101)]
  )
  def test_parts(self, fraction, size):
    train, val = arrays.halves(101, fraction, seed=3)
    assert train.dtype == val.dtype == np.int32
    assert len(train) == size
    assert (np.diff(train) > 0).all() and (np.diff(val) > 0).all()
    np.testing.assert_array_equal(
      np.sort(np.concatenate([train, val])), np.arange(101)
    )

  def test_is_recorded(self):
    # Runs are compared by this digest: numpy must not change it unnoticed.
    assert arrays.digest(*arrays.halves(1437, 0.5, 0)) == (
      "a47cf0870cb7da3019228c577a7ddef572d35d645ce5dd86ad37fe9428d1730d"
    )
    assert (
      arrays.halves(100, 0.5, 0)[0] != arrays.halves(100, 0.5, 1)[0]
    ).any()

  @pytest.mark.parametrize("fraction", [0.0, 0.01, 0.99, 1.5, -0.5])
  def test_refuses_an_empty_part(self, fraction):
    with pytest.raises(ValueError, match="leaves one part of the split empty"):
      arrays.halves(10, fraction, 0)
