"""Mathematical functions that ONNX lacks, written in those that it has."""

import math

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from hwnas_jax.deploy.onnx_conversion import Rewrite, Use

# Giles 2010, "Approximating the erfinv function", single precision: the
# coefficients of w < 5, and of w >= 5.
_ERF_INV = (
  (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06)
  + (0.00021858087, -0.00125372503, -0.00417768164, 0.246640727, 1.50140941),
  (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844)
  + (0.00573950773, -0.0076224613, 0.00943887047, 1.00167406, 2.83297682),
)


def _expm1(use: Use, x: jax.Array) -> jax.Array:
  """tanh(x/2) (e^x + 1), exact near zero; large x first overflow e^x."""
  return jnp.where(
    jnp.abs(x) < 1, jnp.tanh(x / 2) * (jnp.exp(x) + 1), jnp.exp(x) - 1
  )


def _log1p(use: Use, x: jax.Array) -> jax.Array:
  """log(u) x / (u - 1) with u = 1 + x rounded (Kahan)."""
  u = 1 + x
  near, at_end = u == 1, u == jnp.inf
  safe = jnp.where(near | at_end, 1.0, u - 1)
  return jnp.where(near, x, jnp.where(at_end, u, jnp.log(u) * x / safe))


def _cbrt(use: Use, x: jax.Array) -> jax.Array:
  return jnp.sign(x) * jnp.abs(x) ** np.float32(1 / 3)


def _atan2(use: Use, y: jax.Array, x: jax.Array) -> jax.Array:
  steep = jnp.abs(y) > jnp.abs(x)
  big = jnp.where(steep, y, x)
  ratio = jnp.where(steep, x, y) / jnp.where(big == 0, 1.0, big)
  angle = jnp.arctan(ratio)
  sign = jnp.where(y < 0, -1.0, 1.0)
  turned = sign * (math.pi / 2) - angle
  return jnp.where(
    steep, turned, jnp.where(x < 0, angle + sign * math.pi, angle)
  )


def _erf_inv(use: Use, x: jax.Array) -> jax.Array:
  w = -lax.log((1 - x) * (1 + x))
  small = w < 5
  w = jnp.where(small, w - 2.5, jnp.sqrt(w) - 3)
  total = jnp.zeros_like(x)
  for low, high in zip(*_ERF_INV, strict=True):
    total = total * w + jnp.where(small, low, high)
  return jnp.where(jnp.abs(x) == 1, x * jnp.inf, total * x)


def _erfc(use: Use, x: jax.Array) -> jax.Array:
  return 1 - lax.erf(x)


def _exp2(use: Use, x: jax.Array) -> jax.Array:
  return jnp.exp(x * np.float32(math.log(2)))


def _is_finite(use: Use, x: jax.Array) -> jax.Array:
  return jnp.abs(x) < jnp.inf


REWRITES: dict[str, Rewrite] = {
  "atan2": _atan2,
  "cbrt": _cbrt,
  "erf_inv": _erf_inv,
  "erfc": _erfc,
  "exp2": _exp2,
  "expm1": _expm1,
  "is_finite": _is_finite,
  "log1p": _log1p,
}
