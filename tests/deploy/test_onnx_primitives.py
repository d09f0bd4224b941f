"""ONNX of every primitive that has a conversion equals JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from operations import (
  NOT_IN_A_CHOICE,
  OPERATIONS,
  PARITY,
  check,
  compare,
  infer_of,
)

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
  assert onnx.gaps(lambda _, x: jnp.fft.fft(x), (), [(2, 3)])[0] == "'fft'"
