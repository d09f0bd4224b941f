"""Costs that need no device: parameters and multiply-accumulates.

Parameters come from the modules themselves, so they cannot drift from what
runs. All convolutions of a site run at its output's size, so its
multiply-accumulates are its weights times its output pixels; but for those of
an ImageNet stem, and for a bottleneck's first, which run at its input's size.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from hwnas_jax.core import program, tree
from hwnas_jax.core.types import Genotype, Params
from hwnas_jax.nets.conv import tracing_for
from hwnas_jax.nets.init import op_shapes
from hwnas_jax.nets.ops import make_op
from hwnas_jax.spaces.spec import Site, Space, Spec

_AFTER_POOLING = ("classifier", "norm_classifier", "hidden", "hidden_relu6")


@functools.cache
def _derived_shapes(site: Site) -> Params:
  """Shapes of an operation's weights in a derived network."""
  shape = (1, site.height, site.width, site.channels_in)
  init = make_op(site, "train").init
  example = jax.ShapeDtypeStruct(shape, jnp.float32)
  return jax.eval_shape(init, jax.random.key(0), example).get("params", {})


def params(site: Site) -> int:
  """Parameters of the operation in a derived network, BN's included."""
  return tree.count(_derived_shapes(site))


def search_params(site: Site) -> int:
  """Parameters of the operation in the search, where BN has none."""
  return tree.count(op_shapes(site))


def macs(site: Site) -> int:
  """Multiply-accumulates an image: convolutions and the classifier only.

  Pooling, BN and additions count nothing, as in published numbers. Those of a
  user's own operation are counted in its trace.

  Raises:
    ValueError: of a user's own, in a loop of unknown length.
  """
  if site.program:
    return _traced_macs(site)
  weights = _derived_shapes(site)
  if site.op == "stem_imagenet":
    stages = [weights[f"ReluConvNorm_{i}"] for i in range(3)]
    return sum(
      _num_weights(stage) * _pixels(site, 2 ** (i + 1))
      for i, stage in enumerate(stages)
    )
  if site.op in _AFTER_POOLING:
    return _num_weights(weights)
  before = {n: w for n, w in weights.items() if n.startswith("expand")}
  rest = {n: w for n, w in weights.items() if n not in before}
  return _num_weights(before) * _pixels(site, 1) + _num_weights(rest) * _pixels(
    site, site.stride
  )


# What a search may count in place of milliseconds.
COUNTS: dict[str, Callable[[Site], float]] = {"params": params, "macs": macs}


@functools.cache
def _traced_macs(site: Site) -> int:
  module = make_op(site, "eval")
  shape = (1, site.height, site.width, site.channels_in)
  x = jax.ShapeDtypeStruct(shape, jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), x)
  # There a convolution is one primitive on every platform.
  with tracing_for("onnx"):
    closed = jax.make_jaxpr(lambda v, x: module.apply(v, x))(variables, x)
  return program.macs(closed.jaxpr)


def site_costs(space: Space, cost: Callable[[Site], float]) -> dict[str, float]:
  """A cost of every site of a space, by the site's key."""
  return {site.key: float(cost(site)) for site in space.unique_sites()}


def genotype_cost(
  net: Spec, genotype: Genotype, site_cost: Mapping[str, float]
) -> float:
  """Sums a cost over what an architecture runs: live and fixed sites.

  Args:
    net: the network.
    genotype: one operation a choice, or ABSENT.
    site_cost: cost of a site by its key, such as `table.costs` of a measured
      table (ms) or `site_costs`.

  Returns:
    The sum, in the unit of `site_cost`.

  Raises:
    KeyError: a site has no cost; the message is its key.
  """
  space, live = net.space(), net.live(genotype)
  return space.base_cost(site_cost) + sum(
    site_cost[site.key]
    for row, op, runs in zip(space.sites, genotype, live, strict=True)
    if runs
    for site in row[op]
  )


def _num_weights(shapes: Params) -> int:
  """Weights of convolutions and matrices: not of BN, not biases."""
  return tree.count([s for s in jax.tree.leaves(shapes) if len(s.shape) > 1])


def _pixels(site: Site, stride: int) -> int:
  return -(-site.height // stride) * -(-site.width // stride)
