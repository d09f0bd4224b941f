"""What the spaces of cells have in common: how their networks get wider."""

import dataclasses
from typing import Any

from hwnas_jax.spaces.darts import Darts
from hwnas_jax.spaces.nasbench201 import NasBench201
from hwnas_jax.spaces.sizes import scale_channels, scale_image

Cells = Darts | NasBench201


def widen(net: Cells, width: float, side: float) -> Cells:
  """The networks with more channels and for larger images.

  See `nets.kind.Widen`. A width of 1 leaves any number of channels as it is.
  """
  channels = net.channels if width == 1 else scale_channels(net.channels, width)
  image = scale_image(net.image, side)
  return dataclasses.replace(net, image=image, channels=channels)


def overrides(net: Cells, wanted: Cells) -> list[tuple[str, Any]]:
  """The config fields that give the wider networks; see `nets.kind`."""
  changed = wanted.channels != net.channels
  return [("derive.channels", wanted.channels)] if changed else []
