"""Which operations of a space cannot become ONNX, known before a search.

Every operation of a user's model is converted once with stand-in weights. The
spaces of this package convert, as tests/deploy shows.
"""

import jax
import jax.numpy as jnp

from hwnas_jax.deploy import onnx
from hwnas_jax.nets.conv import tracing_for
from hwnas_jax.nets.ops import make_op
from hwnas_jax.spaces.spec import Space

_IMAGES = 2  # in the batch that is traced


def gaps(space: Space) -> dict[str, tuple[str, ...]]:
  """{operation: what of it has no ONNX conversion}; {} if all has.

  Needs nothing of ONNX installed. For example {"mixer": ("'fft'",)}.
  """
  missing: dict[str, tuple[str, ...]] = {}
  for site in space.unique_sites():
    if not site.program:
      continue
    module = make_op(site, "eval")
    shape = _IMAGES, site.height, site.width, site.channels_in
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    with tracing_for("onnx"):
      names = onnx.gaps(module.apply, variables, [shape])
    if names:
      missing[site.op] = tuple(
        dict.fromkeys((*missing.get(site.op, ()), *names))
      )
  return missing


def sentence(space: Space) -> str:
  """What a person has to know of `gaps`; "" if all converts."""
  missing = gaps(space)
  listed = [f"{op} ({', '.join(names)})" for op, names in missing.items()]
  if not listed:
    return ""
  return (
    f"ONNX has no conversion of operations of this model: {', '.join(listed)}"
  )
