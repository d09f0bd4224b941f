"""Chains of mobile inverted bottlenecks: FBNet, ProxylessNAS and LightNAS.

stem -> [fixed block] -> layers -> 1x1 convolution -> global average pool ->
[hidden layer] -> classifier. Every layer is one choice. The three spaces are
data, `Skeleton`s, of one class, `Chain`: FBNet's 22 layers of 9 operations (Wu
et al. 2019, section 3.1), ProxylessNAS's 21 of 7 (Cai et al. 2019)
and LightNAS's 21 of 7 (Luo et al. 2022). Their shapes were read in the authors'
code.
"""

import dataclasses
import functools
from typing import NamedTuple

from hwnas_jax.core.graph import Graph
from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.spaces.sizes import scale_channels
from hwnas_jax.spaces.spec import Site, SiteKind, Space

# `mb_k5_e6` is a 5x5 bottleneck that expands its channels 6 times. With `_g2`
# its 1x1 convolutions are in two groups. With `_relu6` its activation is ReLU6,
# without it ReLU.
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
# `identity` is ProxylessNAS's Zero: the shortcut beside it makes it one. A skip
# of the other spaces is a 1x1 convolution where the shape changes.
PROXYLESS = (*_SIX, "identity")
LIGHTNAS = (*_SIX, "skip_relu6")

# Where the shape stays these hand on their input.
SKIPS = ("skip", "skip_relu6", "identity")


class Stage(NamedTuple):
  """Layers of one width, in channels; the first of them has the stride."""

  channels: int
  repeats: int
  stride: int


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """The layers and channels of a chain, at width 1.

  ops: the operations of a layer. `identity` is only offered where the shape
    stays.
  relu6: whether the fixed layers' activation is ReLU6, otherwise ReLU.
  stem: channels of the 3x3 stem. stem_stride: 1 or 2.
  first: channels of a fixed block after the stem, a bottleneck that does not
    expand; 0 for none.
  stages: the layers.
  head: channels of the last convolution.
  hidden: units of a layer between it and the classifier; 0 for none.
  whole_head: whether a width below 1 leaves the last convolution as it is.
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
    """What the names of the fixed operations end in: "_relu6" or ""."""
    return "_relu6" if self.relu6 else ""


def _stages(channels: str, repeats: str, strides: str) -> tuple[Stage, ...]:
  rows = zip(channels.split(), repeats, strides, strict=True)
  return tuple(Stage(int(c), int(n), int(s)) for c, n, s in rows)


def small(skeleton: Skeleton, head: int = 0) -> Skeleton:
  """A skeleton for images of 32x32, which halves them two times less.

  The stem and the first stage of stride 2 get stride 1. For FBNet this is the
  form of HW-NAS-Bench (Li et al. 2021). For the others it is ours, by analogy:
  they were published for 224x224 only.

  Args:
    skeleton: the published one.
    head: channels of the last convolution; 0 keeps the skeleton's.
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


# The head of FBNet-B and FBNet-C; FBNet-A and HW-NAS-Bench have 1504.
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
# From the authors' code, where three layers have 128 channels. The hidden layer
# has a batch norm in the networks that the authors train, none in their
# supernet; here it always has one.
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
# Not published: for smoke runs and tests.
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


@dataclasses.dataclass(frozen=True)
class Chain:
  """The numbers that determine a chain's networks.

  image: (height, width, channels) of the input.
  width: multiplies all channels, by `scale_channels`, but not a hidden layer's
    and, below 1, not those of a `whole_head`.

  Raises:
    ValueError: the width is not positive, or the image is too small for the
      skeleton's strides.
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
    """A line: layer e is the edge from state e to state e + 1."""
    count = sum(stage.repeats for stage in self.skeleton.stages)
    edges = tuple((layer, layer + 1) for layer in range(count))
    return Graph(edges, (0,), (count,))

  def live(self, genotype: Genotype) -> tuple[bool, ...]:
    """Every layer that has an operation runs."""
    return tuple(op != ABSENT for op in genotype)

  def alive(self, genotype: Genotype) -> bool:
    """Every chain is: a layer hands on what it reads, or computes with it."""
    return all(self.live(genotype))


def _after(site: Site, op: str, channels: int, stride: int = 1) -> Site:
  """The fixed site of `op` on the output of a site."""
  size = site.out_size
  return Site(op, *size, site.channels_out, channels, stride, kind="fixed")


def _trunk(net: Chain) -> tuple[dict[str, Site], list[Site]]:
  """(fixed sites before the layers, each layer's site with its first op)."""
  part, (height, width, colours) = net.skeleton, net.image
  wide = functools.partial(scale_channels, width=net.width)
  last = Site(
    f"stem_3x3{part.suffix}",
    height,
    width,
    colours,
    wide(part.stem),
    part.stem_stride,
    kind="fixed",
  )
  fixed = {"stem": last}
  if part.first:
    first = _after(last, f"mb_k3{part.suffix}", wide(part.first))
    fixed["first"] = last = first
  layers = []
  for stage in part.stages:
    for index in range(stage.repeats):
      stride = 1 if index else stage.stride
      last = _after(last, net.ops[0], wide(stage.channels), stride)
      layers.append(last)
  return fixed, layers


def fixed_sites(net: Chain) -> tuple[dict[str, Site], dict[str, Site]]:
  """What every architecture runs, by name: (before, after the layers)."""
  part = net.skeleton
  before, layers = _trunk(net)
  width = max(net.width, 1.0) if part.whole_head else net.width
  head = scale_channels(part.head, width)
  last = _after(layers[-1], f"head_1x1{part.suffix}", head)
  after = {"head": last}
  if part.hidden:
    last = _after(last, f"hidden{part.suffix}", part.hidden)
    after["hidden"] = last
    last = dataclasses.replace(last, height=1, width=1)
  after["classifier"] = _after(last, "classifier", net.num_classes)
  return before, after


def _sites(layer: Site, op: str) -> tuple[Site, ...]:
  """The site of an operation at a layer; empty where it is not offered."""
  if op == "identity" and not layer.keeps_shape:
    return ()
  free = op in SKIPS and layer.keeps_shape
  kind: SiteKind = "free" if free else "layer"
  return (dataclasses.replace(layer, op=op, kind=kind),)


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
    skip=next((op for op in net.ops if op in SKIPS), None),
  )
