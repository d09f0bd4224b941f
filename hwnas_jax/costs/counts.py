"""Costs that need no device: parameters and multiply-accumulates.

Parameters are counted in the modules that run. Convolutions of a site run at
its output's size, so its multiply-accumulates are its weights times its output
pixels. There are two exceptions: the convolutions of an ImageNet stem, and the
first one of a bottleneck, which runs at the input's size.

Another counted cost is a function from a site to a number, and a line in
`COUNTS`.
"""

import functools
from collections.abc import Mapping
from typing import Protocol

import jax
import jax.numpy as jnp

from hwnas_jax.core import program, tree
from hwnas_jax.core.types import Genotype, Params
from hwnas_jax.nets.conv import tracing_for
from hwnas_jax.nets.init import op_shapes
from hwnas_jax.nets.ops import make_op
from hwnas_jax.spaces.spec import Site, Space, Spec


class Count(Protocol):
  """A cost that is counted, not measured."""

  def __call__(self, site: Site, /) -> float:
    """Returns the cost of running the site's operation on one image."""


_AFTER_POOLING = ("classifier", "norm_classifier", "hidden", "hidden_relu6")


@functools.cache
def _derived_shapes(site: Site) -> Params:
  """Shapes of an operation's weights in a derived network."""
  shape = (1, site.height, site.width, site.channels_in)
  init = make_op(site, "train").init
  example = jax.ShapeDtypeStruct(shape, jnp.float32)
  return jax.eval_shape(init, jax.random.key(0), example).get("params", {})


def params(site: Site, /) -> int:
  """Parameters of the operation in a derived network, with those of BN."""
  return tree.count(_derived_shapes(site))


def search_params(site: Site, /) -> int:
  """Parameters of the operation in the search, where BN has none."""
  return tree.count(op_shapes(site))


def macs(site: Site, /) -> int:
  """Multiply-accumulates an image: convolutions and the classifier only.

  Pooling, BN and additions are not counted, as in published numbers. A user's
  own operation is traced, and its multiply-accumulates are counted in the
  trace.

  Raises:
    ValueError: a user's own operation has a loop of unknown length.
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


# What a search may price in place of milliseconds, by cost.name.
COUNTS: dict[str, Count] = {"params": params, "macs": macs}


@functools.cache
def _traced_macs(site: Site) -> int:
  module = make_op(site, "eval")
  shape = (1, site.height, site.width, site.channels_in)
  x = jax.ShapeDtypeStruct(shape, jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), x)
  # For ONNX, a convolution is one primitive on every platform.
  with tracing_for("onnx"):
    closed = jax.make_jaxpr(lambda v, x: module.apply(v, x))(variables, x)
  return program.macs(closed.jaxpr)


def site_costs(space: Space, cost: Count) -> dict[str, float]:
  """A cost of every site of a space, by the site's key."""
  return {site.key: float(cost(site)) for site in space.unique_sites()}


def genotype_cost(
  net: Spec, genotype: Genotype, site_cost: Mapping[str, float]
) -> float:
  """Sums a cost over the sites that an architecture runs, fixed ones included.

  Args:
    net: the network's space.
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
  """Weights of convolutions and matrices, without biases and BN's."""
  return tree.count([s for s in jax.tree.leaves(shapes) if len(s.shape) > 1])


def _pixels(site: Site, stride: int) -> int:
  return -(-site.height // stride) * -(-site.width // stride)
