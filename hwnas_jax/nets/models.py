"""Supernets and derived networks of every space, by the type of its Spec.

The one place to add a space's modules: a new space is its Spec in `spaces`,
its modules in a file of `nets`, and an entry here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from hwnas_jax.core.types import Genotype, Params
from hwnas_jax.nets import custom, darts, darts_network, mobile, nasbench201
from hwnas_jax.nets.norm import Mode
from hwnas_jax.nets.ops import Module
from hwnas_jax.nets.supernet import Net
from hwnas_jax.spaces.custom import Custom
from hwnas_jax.spaces.darts import Darts
from hwnas_jax.spaces.mobile import Chain
from hwnas_jax.spaces.nasbench201 import NasBench201
from hwnas_jax.spaces.spec import Spec


class _Models(NamedTuple):
  make_supernet: Callable[..., Net]
  make_network: Callable[..., Module]
  inherit: Callable[..., Params]


_MODELS: dict[type, _Models] = {
  Custom: _Models(custom.make_supernet, custom.Network, custom.inherit),
  Darts: _Models(
    darts.make_supernet, darts_network.Network, darts_network.inherit
  ),
  NasBench201: _Models(
    nasbench201.make_supernet, nasbench201.Network, nasbench201.inherit
  ),
  Chain: _Models(mobile.make_supernet, mobile.Network, mobile.inherit),
}


def make_supernet(net: Spec) -> Net:
  """The weight-sharing supernet: every operation at every choice, mixed."""
  return _MODELS[type(net)].make_supernet(net)


def make_network(
  net: Spec, genotype: Genotype, mode: Mode, **more: Any
) -> Module:
  """The network of a genotype: module(images[, drop_rate]) -> (logits, aux).

  more: what the space's module takes beside, as `auxiliary` of `darts`.
  """
  return _MODELS[type(net)].make_network(net, genotype, mode, **more)


def inherit(net: Spec, genotype: Genotype, weights: Params) -> Params:
  """The supernet's weights of one genotype, named as in its network."""
  return _MODELS[type(net)].inherit(net, genotype, weights)
