"""A traced program: what it multiplies, and when two are the same."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from hwnas_jax.core import program

X = jnp.zeros((2, 5, 4, 6))
DIMS = ("NHWC", "HWIO", "NHWC")


def traced(function, *args):
  return jax.make_jaxpr(function)(*args).jaxpr


def conv(x, w, padding="SAME", **more):
  return lax.conv_general_dilated(
    x, w, (1, 1), padding, dimension_numbers=DIMS, **more
  )


@pytest.mark.parametrize(
  ("function", "macs"),
  [
    (lambda x: conv(x, jnp.zeros((3, 1, 6, 7))), 2 * 5 * 4 * 3 * 6 * 7),
    (
      lambda x: conv(x, jnp.zeros((3, 3, 2, 9)), feature_group_count=3),
      2 * 5 * 4 * 9 * 9 * 2,
    ),
    (lambda x: x @ jnp.zeros((6, 3)), 2 * 5 * 4 * 6 * 3),
    (lambda x: jnp.einsum("bhwc,bhwc->b", x, x), 2 * 5 * 4 * 6),
    (lambda x: jax.nn.relu(x) + x * 2, 0),
    (lambda x: jax.jit(lambda y: y @ jnp.zeros((6, 1)))(x), 2 * 5 * 4 * 6),
    (
      lambda x: lax.scan(lambda c, _: (c @ jnp.eye(6), None), x, None, 3)[0],
      3 * 2 * 5 * 4 * 36,
    ),
  ],
)
def test_multiply_accumulates(function, macs):
  assert program.macs(traced(function, X)) == macs


def test_a_loop_of_unknown_length_is_refused():
  loop = lambda x: lax.while_loop(  # noqa: E731
    lambda y: y.sum() < 1, lambda y: y @ jnp.eye(6), x
  )
  with pytest.raises(ValueError, match="inside 'while' cannot be counted"):
    program.macs(traced(loop, X))
  plain = lambda x: lax.while_loop(lambda y: y.sum() < 1, lambda y: y + 1, x)  # noqa: E731
  assert program.macs(traced(plain, X)) == 0


def test_a_digest_is_of_what_is_done():
  same = [
    lambda x: jax.nn.relu(x) + 1.0,
    lambda y: jax.nn.relu(y) + 2.0,
  ]
  w = jnp.zeros((3, 3, 6, 6))
  others = [
    lambda x: jax.nn.relu(x) * 2.0,
    lambda x: jax.nn.relu(x + 1.0),
    lambda x: conv(x, w),
    lambda x: conv(x, w, [(2, 2), (2, 2)], rhs_dilation=(2, 2)),
    lambda x: x + (x * x) * x,
    lambda x: x + (x * x) * (x * x),
    lambda x: jax.jit(lambda y: y + 1.0)(x),
    lambda x: jax.jit(lambda y: y * 1.0)(x),
  ]
  digests = [program.digest(traced(f, X)) for f in same + others]
  assert digests[0] == digests[1]
  assert len(set(digests)) == len(digests) - 1
  assert program.digest(traced(same[0], X[:1])) != digests[0]
