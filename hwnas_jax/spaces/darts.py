"""The DARTS cell space (Liu et al. 2019, section 2; research 1.3).

stem -> cells (normal, and reduction at L//3 and 2L//3) -> pool -> classifier.
A cell preprocesses its two inputs to C channels, adds operations up over the
edges into each node, and concatenates the nodes. The edges of one cell type
are shared by all cells of that type.
"""

import dataclasses
import functools

from hwnas_jax.core.graph import Graph
from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.spaces.spec import Site, Space

EIGHT = (
  "none",
  "max_pool_3x3",
  "avg_pool_3x3",
  "skip_connect",
  "sep_conv_3x3",
  "sep_conv_5x5",
  "dil_conv_3x3",
  "dil_conv_5x5",
)
# The subsets of the simplex method (research 3.2), in its order.
FIVE = (
  "avg_pool_3x3",
  "max_pool_3x3",
  "skip_connect",
  "sep_conv_3x3",
  "sep_conv_5x5",
)
THREE = ("avg_pool_3x3", "skip_connect", "sep_conv_3x3")
OP_SETS = {"three": THREE, "five": FIVE, "eight": EIGHT}
CELL_TYPES = ("normal", "reduce")


@dataclasses.dataclass(frozen=True)
class CellSpec:
  """Shapes of one cell. `height`, `width` are those of the second input."""

  reduction: bool
  halve_first: bool  # the first input is larger: the last cell reduced
  first_size: tuple[int, int]
  channels: int
  channels_in: tuple[int, int]
  height: int
  width: int

  @property
  def out_size(self) -> tuple[int, int]:
    """(height, width) of the cell's output."""
    if not self.reduction:
      return self.height, self.width
    return -(-self.height // 2), -(-self.width // 2)


@dataclasses.dataclass(frozen=True)
class Darts:
  """The numbers that fix a DARTS network; everything else follows.

  image: (height, width, channels) of the input.
  imagenet_stem: three stride-2 convolutions in place of the 3x3 stem.
  """

  ops: tuple[str, ...]
  num_cells: int
  num_nodes: int
  channels: int
  image: tuple[int, int, int]
  num_classes: int
  imagenet_stem: bool = False

  @property
  def edges(self) -> tuple[tuple[int, int], ...]:
    """(source state, node) of each edge of a cell; states 0, 1 are inputs."""
    return tuple(
      (source, node)
      for node in range(self.num_nodes)
      for source in range(node + 2)
    )

  @property
  def stem_channels(self) -> int:
    """Channels that the stem gives."""
    return self.channels if self.imagenet_stem else 3 * self.channels

  def cells(self) -> tuple[CellSpec, ...]:
    """The cells in order, with the shapes they see."""
    reductions = {self.num_cells // 3, 2 * self.num_cells // 3}
    if self.num_cells < 3:
      reductions = set()
    height, width, _ = self.image
    first_size = height, width
    if self.imagenet_stem:
      for _ in range(3):
        first_size = height, width
        height, width = -(-height // 2), -(-width // 2)
    channels = self.channels
    before, last = self.stem_channels, self.stem_channels
    # The ImageNet stem hands its two last stages on: sizes differ by two.
    halved = self.imagenet_stem
    specs = []
    for index in range(self.num_cells):
      reduction = index in reductions
      channels *= 2 if reduction else 1
      spec = CellSpec(
        reduction, halved, first_size, channels, (before, last), height, width
      )
      specs.append(spec)
      first_size = height, width
      height, width = spec.out_size
      before, last = last, self.num_nodes * channels
      halved = reduction
    return tuple(specs)

  @property
  def out_channels(self) -> int:
    """Channels of the last cell, the classifier's input."""
    return self.num_nodes * self.cells()[-1].channels

  def space(self) -> Space:
    """The search space of this network."""
    return make_space(self)

  def graph(self) -> Graph:
    """Both cells; states 0 and 1 of each are given, all nodes are read."""
    size = self.num_nodes + 2
    kinds = len(self.space().choices) // len(self.edges)
    return Graph(
      tuple(
        (kind * size + source, kind * size + node + 2)
        for kind in range(kinds)
        for source, node in self.edges
      ),
      tuple(k * size + s for k in range(kinds) for s in (0, 1)),
      tuple(k * size + n for k in range(kinds) for n in range(2, size)),
      tuple(i for i, op in enumerate(self.ops) if op == "none"),
    )

  def live(self, genotype: Genotype) -> tuple[bool, ...]:
    """Which choices reach the output: a compiler removes the others.

    Every node of a cell is concatenated into its output, so an edge is dead
    only if its operation is `none`, if it is absent, or if its source state
    is a node that is identically zero (no live edge enters it).
    """
    live = []
    per_cell = len(self.edges)
    for start in range(0, len(genotype), per_cell):
      filled = {0, 1}
      for (source, node), op in zip(
        self.edges, genotype[start : start + per_cell], strict=True
      ):
        runs = op != ABSENT and self.ops[op] != "none" and source in filled
        live.append(runs)
        if runs:
          filled.add(node + 2)
    return tuple(live)


def _edge_sites(
  net: Darts, kind: int, edge: tuple[int, int], op: str
) -> tuple[Site, ...]:
  sites = []
  for cell in net.cells():
    if cell.reduction != bool(kind):
      continue
    strided = cell.reduction and edge[0] < 2
    height, width = (
      (cell.height, cell.width)
      if strided or not cell.reduction
      else cell.out_size
    )
    channels = cell.channels
    stride = 2 if strided else 1
    sites.append(Site(op, height, width, channels, channels, stride))
  return tuple(sites)


def _preprocess_sites(cell: CellSpec) -> tuple[Site, Site]:
  height, width = cell.height, cell.width
  first, second = cell.channels_in
  if cell.halve_first:
    left = Site("factorized_reduce", *cell.first_size, first, cell.channels, 2)
  else:
    left = Site("relu_conv_1x1", height, width, first, cell.channels)
  return left, Site("relu_conv_1x1", height, width, second, cell.channels)


def fixed_sites(net: Darts) -> tuple[Site, ...]:
  """Stem, preprocessing and classifier: what every architecture runs."""
  height, width, channels = net.image
  cells = net.cells()
  stem = "stem_imagenet" if net.imagenet_stem else "stem_conv_3x3"
  pieces = [Site(stem, height, width, channels, net.stem_channels)]
  for cell in cells:
    pieces.extend(_preprocess_sites(cell))
  height, width = cells[-1].out_size
  pieces.append(
    Site("classifier", height, width, net.out_channels, net.num_classes)
  )
  return tuple(pieces)


@functools.cache
def make_space(net: Darts) -> Space:
  """The Space of a DARTS network: E = 2 cell types x edges."""
  kinds = range(2 if any(c.reduction for c in net.cells()) else 1)
  rows = [(kind, edge) for kind in kinds for edge in net.edges]
  return Space(
    ops=net.ops,
    choices=tuple(f"{CELL_TYPES[k]}/{s}->{n + 2}" for k, (s, n) in rows),
    sites=tuple(
      tuple(_edge_sites(net, kind, edge, op) for op in net.ops)
      for kind, edge in rows
    ),
    fixed=fixed_sites(net),
    group=tuple(kind * net.num_nodes + edge[1] for kind, edge in rows),
    keep=2,
  )
