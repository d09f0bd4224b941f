"""What a supernet is, whatever its space."""

from collections.abc import Callable
from typing import Any, NamedTuple

from hwnas_jax.core.types import Array, Params
from hwnas_jax.nets.ops import make_op
from hwnas_jax.spaces.spec import Site


class Net(NamedTuple):
  """init(key) -> weights; apply(weights, mix, images, ...) -> class logits.

  apply's mix is [E, O] or [B, E, O], its images float32 [B, H, W, C]. Two
  arguments may follow: `paths`, which operations run in place of all, and
  `identity`, how much of its input each choice adds to its output.
  """

  init: Callable[[Array], Params]
  apply: Callable[..., Array]


def run_op(site: Site, params: Params, x: Array) -> Any:
  """The output of an operation in the search; params {} if it has none."""
  return make_op(site, "search").apply({"params": params}, x)
