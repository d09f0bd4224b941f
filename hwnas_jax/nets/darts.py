"""The space of DARTS's cells, as `nets.models.SPACES` has it."""

import functools
from collections.abc import Mapping
from typing import Any

from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.nets import cells, darts_network
from hwnas_jax.nets.darts_network import AUX_WINDOW
from hwnas_jax.nets.darts_supernet import make_supernet
from hwnas_jax.nets.kind import SpaceKind
from hwnas_jax.spaces.darts import OP_SETS, Darts


def make(
  values: Mapping[str, Any], image: tuple[int, int, int], num_classes: int
) -> Darts:
  """The Spec of a config's fields; see `nets.kind.MakeSpec`."""
  return Darts(
    ops=OP_SETS[values["ops"]],
    num_cells=values["num_cells"],
    num_nodes=values["num_nodes"],
    channels=values["channels"],
    image=image,
    num_classes=num_classes,
    imagenet_stem=values["imagenet_stem"],
  )


def check_derived(
  net: Darts, derived: Darts, training: Mapping[str, float]
) -> None:
  """Refuses networks of other choices, and an auxiliary head without room.

  See `nets.kind.CheckDerived`.
  """
  if len(net.space().choices) != len(derived.space().choices):
    raise ValueError(
      f"space.num_cells={net.num_cells} and"
      f" derive.num_cells={derived.num_cells} must both be below 3 or neither:"
      " fewer cells have no reduction"
    )
  height, width = derived.cells()[2 * derived.num_cells // 3].out_size
  if training["auxiliary_weight"] and min(height, width) < AUX_WINDOW:
    raise ValueError(
      f"train.auxiliary_weight needs features of {AUX_WINDOW}x{AUX_WINDOW}"
      f" after the second reduction, here they are {height}x{width}: set it"
      " to 0"
    )


def reference(net: Darts) -> Genotype:
  """Every node adds a convolution of the state before it and the one before.

  ResNet's idea (He et al. 2016, section 3.2) in the space's terms: the
  convolution is sep_conv_3x3, or the first that the space has.

  Raises:
    ValueError: the space has no convolution.
  """
  convs = sorted(
    (op for op in net.ops if "conv" in op), key=lambda op: op != "sep_conv_3x3"
  )
  if not convs:
    raise ValueError(
      f"no reference among {', '.join(net.ops)}: it needs a convolution"
    )
  conv, skip = net.ops.index(convs[0]), ABSENT
  if "skip_connect" in net.ops:
    skip = net.ops.index("skip_connect")
  # Node n is state n + 2.
  cell = tuple(
    {node + 1: conv, node: skip}.get(source, ABSENT)
    for source, node in net.edges
  )
  return cell * (len(net.space().choices) // len(cell))


# num_cells, num_nodes, channels: L, nodes of a cell, and C of the first cell.
# imagenet_stem: three stride-2 convolutions in place of the 3x3 stem.
KIND = SpaceKind(
  spec=Darts,
  fields={
    "ops": "eight",
    "num_cells": 8,
    "num_nodes": 4,
    "channels": 16,
    "imagenet_stem": False,
  },
  make=make,
  make_supernet=make_supernet,
  make_network=darts_network.Network,
  inherit=darts_network.inherit,
  make_auxiliary=functools.partial(darts_network.Network, auxiliary=True),
  choices={"ops": {name: ", ".join(ops) for name, ops in OP_SETS.items()}},
  positive=("num_cells", "num_nodes", "channels"),
  smoke={"ops": "three", "num_cells": 1, "num_nodes": 2, "channels": 4},
  derive_fields=("num_cells", "channels"),
  training_fields=("auxiliary_weight", "drop_path"),
  check_derived=check_derived,
  widen=cells.widen,
  overrides=cells.overrides,
  reference=reference,
  classifier=True,
)
