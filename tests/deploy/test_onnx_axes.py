"""ONNX of what moves, reads, writes and multiplies along axes equals JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from operations import check

X = np.random.default_rng(0).standard_normal((3, 4, 6), np.float32)


def test_axes():
  def function(x):
    return (
      (x[:, ::-1], x[::-1], jnp.flip(x, (1, 2)), jnp.rot90(x, axes=(1, 2))),
      jnp.split(x, (1, 3), axis=1),
      jnp.stack([x, -x], 2),
      jnp.concatenate([x, jnp.zeros_like(x)], 1),
      (jnp.tile(x, (1, 2, 1)), x.repeat(3, 1), jnp.tile(x[0], (2, 1))),
      (jnp.roll(x, 2, 1), jnp.roll(x, (1, -1), (1, 2))),
      (x.reshape(-1), x.reshape(x.shape[0], -1), x.reshape(-1, 3)),
      (x.T, x.swapaxes(1, 2), x[:, None], jnp.squeeze(x[:, :1], 1)),
      jnp.broadcast_to(x[:, :1], x.shape),
      jnp.zeros_like(x) + jnp.arange(6.0).reshape(1, 1, 6),
      jnp.full((x.shape[0], 2), 3.0),
      (jnp.arange(x.shape[0]), jnp.ones_like(x, jnp.int32)),
      jnp.eye(6)[None] + x[:, :1],
      jnp.tril(jnp.broadcast_to(x[:, None, 0], (x.shape[0], 6, 6))),
      [y + 1 for y in jnp.unstack(x, axis=1)],
      jnp.diff(x, axis=1),
      jnp.meshgrid(jnp.arange(2.0), jnp.arange(3.0))[0][None] + x[:, :1, :2],
    )

  check(function, X)


PADS = "constant edge reflect symmetric wrap linear_ramp mean maximum minimum"


def test_padding():
  width = (0, 0), (1, 2), (2, 1)

  def function(x):
    i = jnp.floor(x).astype(jnp.int32)
    return (
      [jnp.pad(x, width, mode) for mode in PADS.split()],
      jnp.pad(x, width, constant_values=2.0),
      jnp.pad(i, width),
      jnp.pad(x > 0, width),
      lax.pad(x, jnp.float32(1), ((0, 0, 0), (-1, 2, 0), (1, -2, 0))),
      lax.pad(x, jnp.float32(1), ((0, 0, 0), (1, 0, 2), (-1, 2, 1))),
      lax.pad(x, x.sum(), ((0, 0, 0), (1, 0, 2), (0, 0, 0))),
    )

  check(function, X)


def test_reading_by_index():
  rows, columns = np.array([2, 0, 2]), np.array([5, 1, 0])

  def function(x):
    i = jnp.abs(jnp.floor(3 * x)).astype(jnp.int32) % 4
    return (
      (x[:, 1], x[:, -1], x[..., 2:5], x[:, 1:4:2, ::3], x[:, ::-2, 1]),
      (x[:, rows], x[:, rows, columns], x[:, rows][..., columns]),
      (x[:, rows[:, None], columns], x[:, [1, 1]], x[:, :, [[0, 1], [3, 2]]]),
      (jnp.take(x, rows, 1), jnp.take(x, jnp.array([9, 1]), 1)),
      (jnp.take(x, i[0, 0], 1), jnp.take(x, i[0], 1, mode="clip")),
      jnp.take(x, i[0, 0] * 3, axis=1, mode="wrap"),
      jnp.take(x, i[0, :2] * 3, axis=1),  # NaN where there is none
      jnp.take_along_axis(x, i, 1),
      jnp.take_along_axis(x, x.argsort(-1)[:, :, :2], -1),
      jax.vmap(lambda a, b: a[b])(x, i[:, 0]),
      x[jnp.arange(x.shape[0]), i[:, 0, 0]],
      (x[:1, 2], x[0], x[jnp.array([0, 0])], x[::-1], x[-1]),
      lax.dynamic_slice(x, (0, i[0, 0, 0], 5), (x.shape[0], 2, 3)),
      lax.dynamic_slice_in_dim(x, i[0, 0, 0], 2, 1),
      lax.dynamic_update_slice(x, x[:, :2] + 1, (0, i[0, 0, 0], 0)),
      lax.dynamic_index_in_dim(x, i[0, 0, 0], 2),
      jnp.ones((5, 2))[i[:, 0, :2]],
    )

  check(function, X)


def test_reading_a_fixed_batch_by_index():
  def function(x):
    i = jnp.abs(jnp.floor(3 * x)).astype(jnp.int32) % 4
    return (
      (x[1:2], x[2], x[::2], x[1:, 0], x[jnp.array([1, 0])]),
      lax.dynamic_slice(x, (i[0, 0, 0], 0, 5), (2, 2, 3)),
      jnp.cumprod(x, 0),
      x[i[:, 0], i[:, 1]],
    )

  check(function, X, any_batch=False)


def test_writing_by_index():
  rows = np.array([2, 0, 2])

  def function(x):
    i = jnp.abs(jnp.floor(3 * x)).astype(jnp.int32) % 4
    return (
      x.at[:, ::2].set(0.0),
      x.at[:, 1].set(x[:, 0]),
      x.at[:, rows].add(x[:, :3]),
      (x.at[:, :2].multiply(2.0), x.at[:, 1:, 2].max(0.5)),
      x.at[:, 0].min(0.0),
      x.at[:, i[0, 0, 0]].set(1.0),
      x.at[:, i[0, 0, 0] * 3].add(1.0),  # dropped where there is none
      jnp.zeros((x.shape[0], 8, 6)).at[:, ::2].set(x),
      jax.vmap(lambda a, b: a.at[b].set(5.0))(x, i[:, 0, 0]),
    )

  check(function, X)


def test_products():
  w = np.random.default_rng(2).standard_normal((6, 5), np.float32)
  cube = np.random.default_rng(3).standard_normal((4, 6, 2), np.float32)
  cases = {
    "btc,bsc->bts": lambda x: (x, x),
    "btc,btd->bcd": lambda x: (x, x),
    "btc,cd->btd": lambda x: (x, w),
    "cd,btc->dbt": lambda x: (w, x),
    "btc,tcd->bd": lambda x: (x, cube),
    "btc,tcd->btd": lambda x: (x, cube),
    "btc,btc->b": lambda x: (x, x),
    "btc,uvd->btcuvd": lambda x: (x, cube),
    "btc,sc->bts": lambda x: (x, x[0]),
    "c,c->": lambda x: (x[0, 0], x[1, 0]),
    "btc->ct": lambda x: (x,),
  }

  def function(x):
    made = [jnp.einsum(case, *of(x)) for case, of in cases.items()]
    i = jnp.floor(x).astype(jnp.int32)
    return (
      made,
      (
        x @ w,
        w.T @ x.swapaxes(1, 2),
        x[0, 0] @ w,
        x[0] @ w,
        jnp.outer(x[0, 0], w),
      ),
      jnp.dot(i, i[0].T),
      jnp.tensordot(x, cube, ((1, 2), (0, 1))),
      jnp.kron(x[0], w[:2, :2]),
    )

  check(function, X, rtol=1e-4)


IMAGES = np.random.default_rng(0).standard_normal((2, 6, 7, 4), np.float32)

EDGE = ((1, 1), (0, 1))


@pytest.mark.parametrize(
  "options",
  [
    {"padding": "SAME", "window_strides": (2, 2)},
    {"padding": ((2, 0), (0, 1)), "rhs_dilation": (2, 1)},
    {"padding": ((-1, 1), (2, -2))},
    {"padding": ((2, 2), (1, 3)), "lhs_dilation": (2, 3)},
    {"padding": ((5, 2), (1, 0)), "lhs_dilation": (2, 2)},
    {"padding": EDGE, "lhs_dilation": (2, 1), "window_strides": (1, 2)},
    {"padding": EDGE, "lhs_dilation": (2, 2), "feature_group_count": 2},
    {"padding": "SAME", "feature_group_count": 4},
  ],
)
def test_convolutions(options):
  group = options.get("feature_group_count", 1)
  w = np.random.default_rng(1).standard_normal((3, 2, 4 // group, 8))
  w = w.astype(np.float32)
  options = {"window_strides": (1, 1), **options}
  numbers = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}

  def function(x):
    kernel = w * (1 + x.mean())  # one that is computed
    run = lax.conv_general_dilated
    return run(x, w, **options, **numbers), run(x, kernel, **options, **numbers)

  check(function, IMAGES, rtol=1e-4)


def test_convolutions_of_other_ranks_and_layouts():
  line, cube = (
    np.ones((3, 6, 2), np.float32),
    np.ones((2, 2, 2, 1, 3), np.float32),
  )

  def function(x):
    volume = x[..., None]
    return (
      lax.conv_general_dilated(
        x[:, 0, :, :],
        line[:, :4],
        (1,),
        "SAME",
        dimension_numbers=("NWC", "WIO", "NWC"),
      ),
      lax.conv_general_dilated(
        volume,
        cube,
        (1, 2, 1),
        "SAME",
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
      ),
      lax.conv(
        x.transpose(0, 3, 1, 2),
        np.ones((5, 4, 3, 3), np.float32),
        (1, 1),
        "SAME",
      ),
      lax.conv_general_dilated_patches(
        x, (2, 2), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
      ),
    )

  check(function, IMAGES, rtol=1e-4)


def test_windows():
  def pool(x, init, reduce, window, **options):
    options = {"window_strides": (1,) * x.ndim, "padding": "SAME", **options}
    return lax.reduce_window(x, init, reduce, window, **options)

  def function(x):
    line = x[:, 0]
    inf = np.float32(np.inf)
    zero = np.float32(0)
    return (
      pool(x, -inf, lax.max, (1, 3, 2, 1), window_strides=(1, 2, 2, 1)),
      pool(x, inf, lax.min, (1, 3, 2, 1)),
      pool(x, zero, lax.add, (1, 2, 2, 1), padding="VALID"),
      pool(x, -inf, lax.max, (1, 2, 2, 1), window_dilation=(1, 2, 2, 1)),
      pool(x, -inf, lax.max, (1, 2, 2, 1), base_dilation=(1, 2, 1, 1)),
      pool(
        x,
        zero,
        lax.add,
        (1, 2, 1, 1),
        padding=((0, 0), (3, -1), (0, 0), (0, 0)),
      ),
      pool(line, -inf, lax.max, (1, 3, 1)),
      pool(line, zero, lax.add, (1, 3, 1)),
      pool(x, -inf, lax.max, (1, 2, 2, 2)),
      pool(x.transpose(0, 3, 1, 2), zero, lax.add, (1, 1, 2, 2)),
    )

  check(function, IMAGES)
