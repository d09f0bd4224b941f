"""Chains of mobile inverted bottlenecks: FBNet, ProxylessNAS and LightNAS.

stem -> [a fixed block] -> layers -> 1x1 convolution -> pool -> [a hidden
layer] -> classifier. Every layer is a choice. The spaces are `Skeleton`s, data
that one class reads: FBNet's 22 layers of 9 operations (Wu et al. 2019,
research 4.2), ProxylessNAS's 21 of 7 (Cai et al. 2019, research 5.5) and
LightNAS's 21 of 7 (Luo et al. 2022, research 7.2).
"""

import dataclasses
import functools
from typing import NamedTuple

from hwnas_jax.core.graph import Graph
from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.spaces.spec import Site, Space

# `mb_k5_e6` is a 5x5 bottleneck that expands its channels 6 times; `_g2`: its
# 1x1 convolutions are in two groups; `_relu6`: the activation, else ReLU.
FBNET = (
  "mb_k3_e1",
  "mb_k3_e1_g2",
  "mb_k3_e3",
  "mb_k3_e6",
  "mb_k5_e1",
  "mb_k5_e1_g2",
  "mb_k5_e3",
  "mb_k5_e6",
  "skip",
)
_SIX = tuple(f"mb_k{k}_e{e}_relu6" for k in (3, 5, 7) for e in (3, 6))
# ProxylessNAS's Zero, which its shortcut makes the identity; a skip of the
# others is a convolution where the shape changes.
PROXYLESS = (*_SIX, "identity")
LIGHTNAS = (*_SIX, "skip_relu6")

SKIPS = ("skip", "skip_relu6", "identity")  # nothing runs where shapes stay


class Stage(NamedTuple):
  """Layers of one width; the first has the stride."""

  channels: int
  repeats: int
  stride: int


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """What all chains of a space share, at width 1.

  ops: of every layer, but `identity` only where the shape stays.
  relu6: the activation of the fixed layers, else ReLU.
  stem: channels of the 3x3 stem. stem_stride: 1 or 2.
  first: channels of a fixed block after the stem, which expands nothing; 0
    has none.
  stages: the layers.
  head: channels of the last convolution.
  hidden: units between it and the classifier; 0 has none.
  whole_head: a width below 1 leaves the last convolution as it is.
  """

  ops: tuple[str, ...]
  relu6: bool
  stem: int
  stem_stride: int
  first: int
  stages: tuple[Stage, ...]
  head: int
  hidden: int = 0
  whole_head: bool = False

  @property
  def suffix(self) -> str:
    """Of the names of operations with its activation."""
    return "_relu6" if self.relu6 else ""


def _stages(channels: str, repeats: str, strides: str) -> tuple[Stage, ...]:
  rows = zip(channels.split(), repeats, strides, strict=True)
  return tuple(Stage(int(c), int(n), int(s)) for c, n, s in rows)


def small(skeleton: Skeleton, head: int = 0) -> Skeleton:
  """The form for images of 32x32: neither stem nor first stride-2 stage halve.

  Of FBNet it is HW-NAS-Bench's (Li et al. 2021, research 4.2), of the others
  ours, by analogy: they were published for 224x224 alone.
  """
  position = [stage.stride for stage in skeleton.stages].index(2)
  stages = list(skeleton.stages)
  stages[position] = stages[position]._replace(stride=1)
  return dataclasses.replace(
    skeleton,
    stem_stride=1,
    stages=tuple(stages),
    head=head or skeleton.head,
  )


# Head as in FBNet-B and FBNet-C; of FBNet-A and HW-NAS-Bench it is 1504.
_FBNET = Skeleton(
  ops=FBNET,
  relu6=False,
  stem=16,
  stem_stride=2,
  first=0,
  stages=_stages("16 24 32 64 112 184 352", "1444441", "1222121"),
  head=1984,
)
_PROXYLESS = Skeleton(
  ops=PROXYLESS,
  relu6=True,
  stem=32,
  stem_stride=2,
  first=16,
  stages=_stages("24 40 80 96 192 320", "444441", "222121"),
  head=1280,
  whole_head=True,
)
# As the authors' code has it: three layers of 128 channels, and a BN in the
# hidden layer of the networks that they train (the supernet's has none).
_LIGHTNAS = Skeleton(
  ops=LIGHTNAS,
  relu6=True,
  stem=16,
  stem_stride=2,
  first=16,
  stages=_stages("24 48 72 128 160 176 384", "2343441", "2221211"),
  head=1984,
  hidden=1280,
)
# Ours, for smoke runs.
_TINY = Skeleton(
  ops=("mb_k3_e3", "mb_k3_e6", "mb_k5_e3", "skip"),
  relu6=False,
  stem=8,
  stem_stride=1,
  first=0,
  stages=_stages("8 16", "11", "12"),
  head=32,
)
SKELETONS = {
  "fbnet": _FBNET,
  "fbnet_a": dataclasses.replace(_FBNET, head=1504),
  "fbnet_32": small(_FBNET, head=1504),
  "proxyless": _PROXYLESS,
  "proxyless_32": small(_PROXYLESS),
  "lightnas": _LIGHTNAS,
  "lightnas_32": small(_LIGHTNAS),
  "tiny": _TINY,
}


def scaled(channels: int, width: float) -> int:
  """Channels times a width, in multiples of 8, not 10 % below the product.

  The rule of MobileNetV2's code (Sandler et al. 2018).
  """
  wanted = channels * width
  rounded = max(8, int(wanted + 4) // 8 * 8)
  return rounded if rounded >= 0.9 * wanted else rounded + 8


@dataclasses.dataclass(frozen=True)
class Chain:
  """The numbers that fix a chain's networks.

  image: (height, width, channels) of the input.
  width: multiplies all channels but those of a hidden layer, and below 1 of a
    `whole_head`; see `scaled`.

  Raises:
    ValueError: the width is not positive, or the image too small to halve.
  """

  skeleton: Skeleton
  image: tuple[int, int, int]
  num_classes: int
  width: float = 1.0

  def __post_init__(self) -> None:
    if not self.width > 0:
      raise ValueError(f"width must be > 0, got {self.width}")
    height, width, _ = self.image
    stages = self.skeleton.stages
    strides = [self.skeleton.stem_stride, *(stage.stride for stage in stages)]
    shrink = 2 ** strides.count(2)
    if min(height, width) < shrink:
      raise ValueError(
        f"the skeleton divides an image's sides by {shrink}, and {height}x"
        f"{width} are fewer pixels: take larger images or another skeleton;"
        " those named *_32 divide by 8"
      )

  @property
  def ops(self) -> tuple[str, ...]:
    """[O] names, the columns."""
    return self.skeleton.ops

  def space(self) -> Space:
    """The search space of this network."""
    return _make_space(self)

  def graph(self) -> Graph:
    """A line: layer e goes from state e to state e + 1."""
    count = sum(stage.repeats for stage in self.skeleton.stages)
    edges = tuple((layer, layer + 1) for layer in range(count))
    return Graph(edges, (0,), (count,))

  def live(self, genotype: Genotype) -> tuple[bool, ...]:
    """Which choices reach the output: every layer does."""
    return tuple(op != ABSENT for op in genotype)


def _after(site: Site, op: str, channels: int, stride: int = 1) -> Site:
  """The site of `op` on what a site gives."""
  return Site(op, *site.out_size, site.channels_out, channels, stride)


def _trunk(net: Chain) -> tuple[dict[str, Site], list[Site]]:
  """(fixed sites before the layers, the layers under the first operation)."""
  part, (height, width, colours) = net.skeleton, net.image
  of = functools.partial(scaled, width=net.width)
  last = Site(
    f"stem_3x3{part.suffix}",
    height,
    width,
    colours,
    of(part.stem),
    part.stem_stride,
  )
  fixed = {"stem": last}
  if part.first:
    fixed["first"] = last = _after(last, f"mb_k3{part.suffix}", of(part.first))
  layers = []
  for stage in part.stages:
    for index in range(stage.repeats):
      stride = 1 if index else stage.stride
      last = _after(last, net.ops[0], of(stage.channels), stride)
      layers.append(last)
  return fixed, layers


def fixed_sites(net: Chain) -> tuple[dict[str, Site], dict[str, Site]]:
  """What every architecture runs, by name: (before, after the layers)."""
  part = net.skeleton
  before, layers = _trunk(net)
  width = max(net.width, 1.0) if part.whole_head else net.width
  head = scaled(part.head, width)
  last = _after(layers[-1], f"head_1x1{part.suffix}", head)
  after = {"head": last}
  if part.hidden:
    last = _after(last, f"hidden{part.suffix}", part.hidden)
    after["hidden"] = last
    last = dataclasses.replace(last, height=1, width=1)
  after["classifier"] = _after(last, "classifier", net.num_classes)
  return before, after


def _sites(layer: Site, op: str) -> tuple[Site, ...]:
  """The site of an operation at a layer; () where the layer lacks it."""
  if op == "identity" and not layer.keeps_shape:
    return ()
  return (dataclasses.replace(layer, op=op),)


@functools.cache
def _make_space(net: Chain) -> Space:
  layers = _trunk(net)[1]
  before, after = fixed_sites(net)
  return Space(
    ops=net.ops,
    choices=tuple(f"layer_{index + 1:02}" for index in range(len(layers))),
    sites=tuple(tuple(_sites(layer, op) for op in net.ops) for layer in layers),
    fixed=(*before.values(), *after.values()),
    group=tuple(range(len(layers))),
    keep=len(layers),
  )
