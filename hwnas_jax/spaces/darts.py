"""The cell space of DARTS (Liu et al. 2019, section 2.1).

stem -> L cells -> global average pool -> classifier. Cells L//3 and 2L//3 are
reductions: they halve the image and double the channels C. A cell has two
inputs, the outputs of the two cells before it, each brought to C channels. A
node is the sum of the operations on the edges that enter it; the cell's output
is the concatenation of its nodes. All normal cells share their choices, and so
do all reductions.
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
# The subsets that the simplex method searches (Firsov and Bakhteev 2025), in
# the order of its published code.
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
  """The shapes of one cell.

  reduction: whether it halves the image.
  halve_first: whether the first input is twice as large as the second, as
    after a reduction.
  first_size: (height, width) of the first input.
  channels: of each node.
  channels_in: of the two inputs.
  height, width: of the second input.
  """

  reduction: bool
  halve_first: bool
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

  def edge_site(self, source: int, op: str) -> Site:
    """Where an operation runs on the edges that leave state `source`."""
    from_input = source < 2
    height, width = (self.height, self.width) if from_input else self.out_size
    stride = 2 if self.reduction and from_input else 1
    return Site(
      op,
      height,
      width,
      self.channels,
      self.channels,
      stride,
      kind="free" if op == "none" else "added",
    )

  def input_sites(self) -> tuple[Site, Site]:
    """What brings the two inputs to the cell's channels and size."""
    height, width = self.height, self.width
    first, second = self.channels_in
    plain = functools.partial(Site, "relu_conv_1x1", height, width)
    left = plain(first, self.channels, kind="fixed")
    if self.halve_first:
      left = Site(
        "factorized_reduce",
        *self.first_size,
        first,
        self.channels,
        2,
        kind="fixed",
      )
    return left, plain(second, self.channels, kind="fixed")


@dataclasses.dataclass(frozen=True)
class Darts:
  """The numbers that determine a DARTS network.

  ops: of every edge, a set of `OP_SETS` or another selection of `EIGHT`.
  channels: C of the first cell.
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
    """Channels of the stem's output."""
    return self.channels if self.imagenet_stem else 3 * self.channels

  def cells(self) -> tuple[CellSpec, ...]:
    """The shapes of the cells, from the first to the last."""
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
    # An ImageNet stem has two outputs; the first is twice as large.
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
    """Both cell types: states 0 and 1 are inputs, every node is an output."""
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
    """Which choices run; a compiler removes the others.

    Every node is a part of its cell's output. So an edge is dead only if it is
    absent, if its operation is `none`, or if its source is a node that no live
    edge enters and that is therefore zero.
    """
    return tuple(
      runs
      for ops in self._by_cell_type(genotype)
      for runs in self._running(ops, {0, 1})
    )

  def alive(self, genotype: Genotype) -> bool:
    """Whether the image reaches the last cell's output.

    A cell without live edges gives zeros to the two cells after it.
    """
    kinds = self._by_cell_type(genotype)
    before = last = True
    for cell in self.cells():
      filled = {state for state, full in enumerate((before, last)) if full}
      ops = kinds[1] if cell.reduction else kinds[0]
      before, last = last, any(self._running(ops, filled))
    return last

  def _by_cell_type(self, genotype: Genotype) -> list[Genotype]:
    """The operations of the normal cell, then of the reduction, if any."""
    count = len(self.edges)
    starts = range(0, len(genotype), count)
    return [genotype[start : start + count] for start in starts]

  def _running(self, ops: Genotype, filled: set[int]) -> tuple[bool, ...]:
    """Which edges of a cell run, if these of its two inputs are not zero."""
    filled, running = set(filled), []
    for (source, node), op in zip(self.edges, ops, strict=True):
      runs = op != ABSENT and self.ops[op] != "none" and source in filled
      running.append(runs)
      if runs:
        filled.add(node + 2)
    return tuple(running)


def _edge_sites(
  net: Darts, kind: int, source: int, op: str
) -> tuple[Site, ...]:
  return tuple(
    cell.edge_site(source, op)
    for cell in net.cells()
    if cell.reduction == bool(kind)
  )


def fixed_sites(net: Darts) -> tuple[Site, ...]:
  """What every architecture runs.

  Returns:
    The stem, two sites for the inputs of each cell, and the classifier.
  """
  height, width, channels = net.image
  cells = net.cells()
  stem = "stem_imagenet" if net.imagenet_stem else "stem_conv_3x3"
  sites = [Site(stem, height, width, channels, net.stem_channels, kind="fixed")]
  for cell in cells:
    sites.extend(cell.input_sites())
  last = *cells[-1].out_size, net.out_channels
  sites.append(Site("classifier", *last, net.num_classes, kind="fixed"))
  return tuple(sites)


@functools.cache
def make_space(net: Darts) -> Space:
  """The search space of a DARTS network.

  Its choices are the edges of the normal cell, then those of the reduction if
  there is one; a group is a node of a cell type.
  """
  kinds = range(2 if any(c.reduction for c in net.cells()) else 1)
  rows = [(kind, edge) for kind in kinds for edge in net.edges]
  return Space(
    ops=net.ops,
    choices=tuple(f"{CELL_TYPES[k]}/{s}->{n + 2}" for k, (s, n) in rows),
    sites=tuple(
      tuple(_edge_sites(net, kind, source, op) for op in net.ops)
      for kind, (source, _) in rows
    ),
    fixed=fixed_sites(net),
    group=tuple(kind * net.num_nodes + edge[1] for kind, edge in rows),
    keep=2,
    skip="skip_connect" if "skip_connect" in net.ops else None,
  )
