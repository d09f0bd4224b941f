"""A search space of a test's own: what a space in `spaces` and `nets` needs.

Blocks in a row; each is a 3x3 convolution, a larger one of its own, or nothing.
`registered()` adds it to the package for a while.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator

import flax.linen as nn
import jax

from hwnas_jax.core.graph import Graph
from hwnas_jax.core.types import ABSENT
from hwnas_jax.nets import models
from hwnas_jax.nets.init import draw, op_shapes
from hwnas_jax.nets.kind import SpaceKind
from hwnas_jax.nets.norm import BatchNorm
from hwnas_jax.nets.ops import OPERATIONS, make_op
from hwnas_jax.nets.paths import mix_all, run_paths, shortcut
from hwnas_jax.nets.supernet import Net, run_op
from hwnas_jax.spaces.sizes import scale_channels, scale_image
from hwnas_jax.spaces.spec import Site, Space

# What would be spaces/toy.py.

OP_SETS = {
  "two": ("nor_conv_3x3", "toy_pass"),
  "three": ("nor_conv_3x3", "toy_wide", "toy_pass"),
}


@dataclasses.dataclass(frozen=True)
class Toy:
  """stem -> `depth` blocks, each a choice -> classifier."""

  ops: tuple[str, ...]
  depth: int
  channels: int
  image: tuple[int, int, int]
  num_classes: int

  def space(self):
    """The blocks; all have one shape."""
    return _make_space(self)

  def live(self, genotype):
    """Every block runs."""
    return tuple(op != ABSENT for op in genotype)

  def alive(self, genotype):
    """No operation gives zeros."""
    return True

  def graph(self):
    """A line."""
    edges = tuple((block, block + 1) for block in range(self.depth))
    return Graph(edges, (0,), (self.depth,))


@functools.cache
def _make_space(net):
  height, width, channels = net.image
  block = Site("", height, width, net.channels, net.channels, kind="layer")
  fixed = functools.partial(dataclasses.replace, block, kind="fixed")

  def site(op):
    kind = "free" if op == "toy_pass" else "layer"
    return dataclasses.replace(block, op=op, kind=kind)

  return Space(
    ops=net.ops,
    choices=tuple(f"block_{index}" for index in range(net.depth)),
    sites=(tuple((site(op),) for op in net.ops),) * net.depth,
    fixed=(
      fixed(op="stem_conv_3x3", channels_in=channels),
      fixed(op="classifier", channels_out=net.num_classes),
    ),
    group=tuple(range(net.depth)),
    keep=1,
    skip="toy_pass",
  )


# What would be nets/toy.py.


class Wide(nn.Module):
  """ReLU, 7x7 convolution, batch norm: an operation of the space's own."""

  channels: int
  mode: str

  @nn.compact
  def __call__(self, x):
    """[B, H, W, C] -> [B, H, W, channels]."""
    kernel = nn.initializers.he_normal()
    conv = nn.Conv(self.channels, (7, 7), use_bias=False, kernel_init=kernel)
    return BatchNorm(self.mode)(conv(nn.relu(x)))


class Pass(nn.Module):
  """Hands on its input."""

  def __call__(self, x):
    """Returns x."""
    return x


OWN_OPERATIONS = {
  "toy_wide": lambda site, mode, name: Wide(site.channels_out, mode, name=name),
  "toy_pass": lambda site, mode, name: Pass(name=name),
}


def make(values, image, num_classes):
  """The Spec of a config's fields."""
  ops = OP_SETS[values["toy_ops"]]
  return Toy(ops, values["depth"], values["channels"], image, num_classes)


def _branch(site):
  return lambda params, x: run_op(site, params.get(site.op, {}), x)


def make_supernet(net):
  """Weights: {"stem", "blocks": [{op: its weights}], "classifier"}."""
  space = net.space()
  stem, classifier = space.fixed
  branches = [_branch(site) for (site,) in space.sites[0]]

  def init(key):
    shapes = {site.op: op_shapes(site) for (site,) in space.sites[0]}
    block = {op: shape for op, shape in shapes.items() if shape}
    return draw(
      key,
      {
        "stem": op_shapes(stem),
        "blocks": [block] * net.depth,
        "classifier": op_shapes(classifier),
      },
    )

  def apply(weights, mix, images, paths=None, identity=None):
    x = run_op(stem, weights["stem"], images)
    for index, params in enumerate(weights["blocks"]):
      row = mix[..., index, :]
      if paths is None:
        y = mix_all(branches, params, x, row)
      else:
        path = jax.tree.map(lambda p, i=index: p[i], paths)
        y = run_paths(branches, params, x, row, path)
      x = y if identity is None else y + identity * shortcut(x, y)
    return run_op(classifier, weights["classifier"], x)

  return Net(init, apply)


class Network(nn.Module):
  """The network of a genotype."""

  net: Toy
  genotype: tuple[int, ...]
  mode: str

  @nn.compact
  def __call__(self, images, drop_rate=None):
    """Class logits, and None."""
    del drop_rate
    space = self.net.space()
    stem, classifier = space.fixed
    x = make_op(stem, self.mode, "stem")(images)
    for choice, row, op in zip(
      space.choices, space.sites, self.genotype, strict=True
    ):
      x = make_op(row[op][0], self.mode, choice)(x)
    return make_op(classifier, self.mode, "classifier")(x), None


def inherit(net, genotype, weights):
  """The supernet's weights by the names of a network."""
  params = {name: weights[name] for name in ("stem", "classifier")}
  for choice, op, block in zip(
    net.space().choices, genotype, weights["blocks"], strict=True
  ):
    if net.ops[op] in block:
      params[choice] = block[net.ops[op]]
  return params


def widen(net, width, side):
  """More channels, larger images."""
  channels = scale_channels(net.channels, width)
  image = scale_image(net.image, side)
  return dataclasses.replace(net, channels=channels, image=image)


def overrides(net, wanted):
  """By the supernet's channels: the two Specs are one."""
  changed = wanted.channels != net.channels
  return [("space.channels", wanted.channels)] if changed else []


KIND = SpaceKind(
  spec=Toy,
  fields={"toy_ops": "three", "depth": 3, "channels": 16},
  make=make,
  make_supernet=make_supernet,
  make_network=Network,
  inherit=inherit,
  choices={"toy_ops": {name: ", ".join(ops) for name, ops in OP_SETS.items()}},
  positive=("depth", "channels"),
  smoke={"depth": 2, "channels": 8},
  widen=widen,
  overrides=overrides,
  classifier=True,
)


@contextlib.contextmanager
def registered() -> Iterator[SpaceKind]:
  """Inside it config.space.name may be "toy"."""
  models.SPACES["toy"] = KIND
  OPERATIONS.update(OWN_OPERATIONS)
  try:
    yield KIND
  finally:
    del models.SPACES["toy"]
    for name in OWN_OPERATIONS:
      del OPERATIONS[name]
