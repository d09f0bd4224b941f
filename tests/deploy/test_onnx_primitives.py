"""ONNX of every primitive that has a conversion equals JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from operations import NOT_IN_A_CHOICE, OPERATIONS, PARITY, compare, infer_of

from hwnas_jax.deploy import onnx

# bfloat16 rounds to 8 bits: a sum in another order may round the other way.
LOOSE = {"bf16": 2**-8}
REFUSED = {"fft_mixer": "'fft'"}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_that_people_build(name):
  result = compare(infer_of(OPERATIONS[name]))
  if name in REFUSED:
    assert result.difference is None and REFUSED[name] in result.reason
  else:
    assert result.reason == ""
    assert result.difference < LOOSE.get(name, PARITY)


def test_at_least_68_of_76_are_operations_of_a_choice():
  assert len(OPERATIONS) == 76
  assert len({*REFUSED, *LOOSE, *NOT_IN_A_CHOICE}) <= 76 - 68


def check(function, x, *, rtol=1e-5, any_batch=True):
  """Converts for any batch, compares all outputs of one array."""
  (batch,) = jax.export.symbolic_shape("batch") if any_batch else x.shape[:1]
  model = onnx.to_onnx(function, [(batch, *x.shape[1:])])
  outputs = onnx.run(model, x)
  wanted = jax.tree.leaves(jax.jit(function)(x))
  for given, value in zip(outputs, wanted, strict=True):
    assert given.shape == value.shape
    value = np.asarray(value, given.dtype)
    np.testing.assert_allclose(given, value, rtol=rtol, atol=1e-5)
  return model


X = np.random.default_rng(0).standard_normal((3, 4, 6), np.float32)
UNIT = np.random.default_rng(1).uniform(-0.99, 0.99, (3, 4, 6))
UNIT = UNIT.astype(np.float32)
SMOOTH = "sin cos tan atan sinh cosh asinh tanh exp exp2 expm1 erf erfc cbrt"
SMOOTH += " sign floor ceil abs neg square logistic is_finite"
INSIDE = "asin acos atanh erf_inv log1p"
ABOVE = "log sqrt rsqrt log1p"


@pytest.mark.parametrize(
  ("x", "names"),
  [(X, SMOOTH), (UNIT, INSIDE), (np.abs(X) + 0.1, ABOVE), (X * 20, "expm1")],
  ids=("all", "inside", "above", "large"),
)
def test_functions_of_one_number(x, names):
  fs = [getattr(lax, name) for name in names.split()]
  check(lambda x: [f(x) for f in fs], x, rtol=3e-5)


def test_special_values():
  x = np.float32(
    [[0, -0.0, np.inf, -np.inf, np.nan, 1e-8, 0.5, 1.5, 2.5, -0.5]]
  )

  def function(x):
    away = lax.RoundingMethod.AWAY_FROM_ZERO
    return (
      lax.is_finite(x),
      lax.round(x, away),
      jnp.round(x),
      lax.log1p(jnp.where(jnp.isnan(x), 0, x)),
      lax.expm1(x),
      lax.acosh(jnp.maximum(x, 1.5)),
      lax.erf_inv(jnp.float32([-1, 1, 0]))[None] + 0 * x[:, :1],
      jnp.nan_to_num(x),
    )

  check(function, x)


def test_functions_of_two_numbers():
  def function(x):
    y = jnp.roll(x, 1, axis=1) + 0.1
    size = jnp.abs(x) + 0.1
    i = jnp.floor(4 * x).astype(jnp.int32)
    j = jnp.where(i == 0, 3, i)
    return (
      lax.atan2(x, y),
      lax.rem(x, y),
      lax.pow(size, y),
      lax.integer_pow(size, -3),
      jnp.mod(x, y),
      jnp.floor_divide(x, y),
      jnp.logaddexp(x, y),
      (x + y, x - y, x * y, x / y, jnp.maximum(x, y), jnp.minimum(x, y)),
      lax.clamp(-size, x, size),
      lax.nextafter(jnp.float32(0), jnp.float32(1)) + x,
      (i + j, i - j, i * j, lax.div(i, j), lax.rem(i, j), -i, abs(i)),
      (jnp.maximum(i, 0), jnp.minimum(i, j), i // j, i % j, i**2),
      (i & j, i | j, i ^ j, ~i),
    )

  check(function, X)


def test_comparisons_and_logic():
  def function(x):
    y, p, q = jnp.roll(x, 1, axis=1), x > 0, x > 0.5
    return (
      (x == x, x != y, x < y, x <= y, x > y, x >= y),
      (p & q, p | q, p ^ q, ~p, p == q, p != q),
      (p < q, p <= q, p > q, p >= q, jnp.maximum(p, q), jnp.minimum(p, q)),
      jnp.where(p, x, y),
      jnp.where(p, 0.0, x),
      jnp.where(p, x, -jnp.inf),
      lax.select_n((x > 0).astype(jnp.int32) + q, x, y, -x),
      jnp.where(x[:1, :1, :1] > 0, x, y),
      (p.astype(jnp.float32), p.astype(jnp.int32), x.astype(bool)),
      (p.sum(1), p.any(1), p.all((1, 2)), jnp.argmax(p, 1)),
      jnp.select([x > 1, x > 0], [x, y], 0.0),
      lax.cond(x.sum() > 0, lambda a: a + 1, lambda a: a - 1, x),
    )

  check(function, X)


def test_reductions():
  def function(x):
    i = jnp.floor(4 * x).astype(jnp.int32)
    return (
      (x.sum(1), x.max(1), x.min((1, 2)), x.prod(2), x.mean(), x.var(1)),
      (i.sum(1), i.max(2), i.min(1), i.prod(1)),
      (x.argmax(1), x.argmin(2), i.argmax(-1)),
      jax.nn.logsumexp(x, 1),
      jnp.linalg.norm(x, axis=1),
      jnp.median(x, axis=2),
      x.mean(0),
      x.std(),
      jnp.quantile(x, 0.3, axis=1),
    )

  check(function, X)


@pytest.mark.parametrize("reverse", [False, True])
def test_running_reductions(reverse):
  names = "cumsum cumprod cummax cummin cumlogsumexp".split()

  def function(x):
    made = [getattr(lax, n)(x, axis=1, reverse=reverse) for n in names]
    i = jnp.floor(x).astype(jnp.int32)
    return [*made, lax.cummax(i, axis=2), jnp.cumsum(i, 1), jnp.cumsum(x, 0)]

  check(function, X)


def test_order():
  def function(x):
    return (
      jnp.sort(x, 1),
      jnp.argsort(x, 2),
      lax.top_k(x, 2),
      jnp.sort(x, descending=True),
      lax.sort((x, x + 1), dimension=1),
      jnp.sort(jnp.round(x).astype(jnp.int32)),
    )

  check(function, X)


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


def test_types():
  def function(x):
    half, brain = x.astype(jnp.float16), x.astype(jnp.bfloat16)
    small = (10 * x).astype(jnp.int32).astype(jnp.int8)
    byte = jnp.abs(10 * x).astype(jnp.uint8)
    return (
      (half * 3, brain * brain, brain),
      (small * small).astype(jnp.int32),  # wraps
      (byte - 100).astype(jnp.int32),
      jnp.abs(x * 1e9).astype(jnp.uint32).astype(jnp.float32),
      (x.astype(jnp.int32), x.astype(bool), (x > 0).astype(jnp.float32)),
      lax.reduce_precision(x, 8, 7),
      lax.stop_gradient(x) + 0,
    )

  check(function, X)


def test_calls_and_loops():
  @jax.custom_vjp
  def own(x):
    return x * 2

  own.defvjp(lambda x: (x * 2, None), lambda _, g: (g,))

  def function(x):
    step = lambda c, r: (c + r.sum(-1), c * 2)  # noqa: E731
    rows = x.swapaxes(0, 1)
    start = jnp.zeros(x.shape[0])
    return (
      own(x),
      jax.checkpoint(jnp.sin)(x),
      jax.jit(jnp.cos)(x),
      jax.nn.relu(x),
      lax.scan(step, start, rows),
      lax.scan(step, start, rows, reverse=True),
      lax.fori_loop(0, 3, lambda i, y: y * 1.5 + i, x),
      lax.map(jnp.sin, rows),
      lax.associative_scan(jnp.add, x, axis=1),
    )

  check(function, X)


@pytest.mark.parametrize(
  ("function", "names"),
  [
    (lambda x: jnp.fft.fft(x).real, "'fft'.*'real'"),
    (lambda x: lax.lgamma(lax.digamma(x)), "'digamma'; 'lgamma'"),
    (lambda x: lax.reduce_precision(x, 4, 3), "this 'reduce_precision': "),
    (
      lambda x: lax.while_loop(lambda y: y.sum() < 9, lambda y: y + 1, x),
      "'while'",
    ),
    (lambda x: jnp.linalg.svd(x[:, :4, :4])[1], "'svd'"),
    (lambda x: x.astype(jnp.complex64).real, "values of type complex64"),
  ],
)
def test_all_that_has_no_conversion_is_named(function, names):
  (batch,) = jax.export.symbolic_shape("batch")
  shapes = [(batch, 4, 6)]
  with pytest.raises(ValueError, match=f"no ONNX conversion of .*{names}"):
    onnx.to_onnx(function, shapes)
  assert onnx.gaps(lambda _, x: function(x), (), [(3, 4, 6)])


def test_gaps_need_nothing_of_onnx(monkeypatch):
  monkeypatch.setattr("hwnas_jax.deploy.onnx_model.require", None)
  w = {"w": jax.ShapeDtypeStruct((3, 4), jnp.float32)}
  assert onnx.gaps(lambda w, x: x @ w["w"], w, [(2, 3)]) == []
  assert onnx.gaps(lambda _, x: jnp.fft.fft(x), (), [(2, 3)])[-1] == "'fft'"
