"""The cell space of NAS-Bench-201 (Dong and Yang 2020, section 2).

stem -> N cells -> residual block -> N cells -> residual block -> N cells ->
head. A cell has four nodes and an edge between every two of them. Node 0 is
the input, node 3 the output, and a node is the sum of the edges that enter it.
All cells share the six choices, so there are 5 ** 6 = 15,625 cells.
"""

import dataclasses
import functools
import random
import re

from hwnas_jax.core.graph import Graph
from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.spaces.spec import Site, SiteKind, Space

OPS = (
  "none",
  "skip_connect",
  "nor_conv_1x1",
  "nor_conv_3x3",
  "avg_pool_3x3",
)
# (source, target) in the order of the published files: target by target.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OUTPUT = 3
NUM_STAGES = 3
NUM_CELLS = len(OPS) ** len(EDGES)
# The benchmark numbers its cells in the order of a shuffled enumeration. This
# is the seed that Python's `random` shuffled it with.
_SEED = 88


@dataclasses.dataclass(frozen=True)
class NasBench201:
  """The numbers that determine a network; the benchmark has N = 5, C = 16.

  num_cells: N, of each of the three stages.
  channels: C, of the first stage; each residual block doubles them.
  image: (height, width, channels) of the input; both sides multiples of 4.

  Raises:
    ValueError: the two residual blocks cannot halve the image.
  """

  num_cells: int
  channels: int
  image: tuple[int, int, int]
  num_classes: int

  def __post_init__(self) -> None:
    height, width, _ = self.image
    shrink = 2 ** (NUM_STAGES - 1)
    if height % shrink or width % shrink:
      raise ValueError(
        f"NAS-Bench-201 halves its images twice: {height}x{width} are not"
        f" multiples of {shrink}"
      )

  @property
  def ops(self) -> tuple[str, ...]:
    """[O] names, in the published order."""
    return OPS

  def stage_site(self, stage: int, op: str) -> Site:
    """Where an operation of a cell runs; the edges of a stage share a shape."""
    height, width, _ = self.image
    channels = self.channels * 2**stage
    size = height >> stage, width >> stage
    kind: SiteKind = "free" if op == "none" else "added"
    return Site(op, *size, channels, channels, kind=kind)

  def space(self) -> Space:
    """The search space of this network."""
    return _make_space(self)

  def graph(self) -> Graph:
    """The cell; its nodes are the states."""
    return Graph(EDGES, (0,), (OUTPUT,), (self.ops.index("none"),))

  def live(self, genotype: Genotype) -> tuple[bool, ...]:
    """Which choices run; a compiler removes the others.

    An edge runs if its operation is not `none`, the cell's input reaches its
    source, and its target reaches the cell's output. (Where the source is zero
    a network of the benchmark adds a constant, the shift of its batch norm.
    This package runs nothing there.)
    """
    kept = [
      edge
      for edge, op in zip(EDGES, genotype, strict=True)
      if op != ABSENT and self.ops[op] != "none"
    ]
    reached, needed = {0}, {OUTPUT}
    # Edges are sorted by target: all edges into a node come before any that
    # leaves it.
    for source, target in kept:
      if source in reached:
        reached.add(target)
    for source, target in reversed(kept):
      if target in needed:
        needed.add(source)
    return tuple(
      edge in kept and edge[0] in reached and edge[1] in needed
      for edge in EDGES
    )

  def alive(self, genotype: Genotype) -> bool:
    """Whether an edge joins the cell's ends."""
    return any(self.live(genotype))


def fixed_sites(net: NasBench201) -> tuple[Site, ...]:
  """What every architecture runs: stem, two residual blocks, head."""
  fixed = functools.partial(dataclasses.replace, kind="fixed")
  stem = Site("stem_conv_3x3", *net.image, net.channels, kind="fixed")
  blocks = []
  for stage in range(NUM_STAGES - 1):
    before = net.stage_site(stage, "residual_block")
    doubled = 2 * before.channels_in
    blocks.append(fixed(before, channels_out=doubled, stride=2))
  last = net.stage_site(NUM_STAGES - 1, "norm_classifier")
  return (stem, *blocks, fixed(last, channels_out=net.num_classes))


@functools.cache
def _make_space(net: NasBench201) -> Space:
  sites = tuple(
    tuple(
      net.stage_site(stage, op)
      for stage in range(NUM_STAGES)
      for _ in range(net.num_cells)
    )
    for op in net.ops
  )
  return Space(
    ops=net.ops,
    choices=tuple(f"cell/{source}->{target}" for source, target in EDGES),
    sites=(sites,) * len(EDGES),
    fixed=fixed_sites(net),
    group=tuple(target - 1 for _, target in EDGES),
    keep=len(EDGES),
    skip="skip_connect",
  )


def to_string(genotype: Genotype) -> str:
  """The benchmark's form, `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|`.

  Raises:
    ValueError: not one operation on each of the six edges.
  """
  _check(genotype)
  nodes = []
  for node in range(1, OUTPUT + 1):
    edges = [
      f"{OPS[op]}~{source}"
      for (source, target), op in zip(EDGES, genotype, strict=True)
      if target == node
    ]
    nodes.append(f"|{'|'.join(edges)}|")
  return "+".join(nodes)


def from_string(text: str) -> Genotype:
  """The inverse of `to_string`.

  Raises:
    ValueError: it is not the benchmark's form of a cell.
  """
  edges = re.findall(r"([^|+~]+)~(\d+)", text)
  unknown = sorted({op for op, _ in edges} - set(OPS))
  if unknown:
    raise ValueError(
      f"{text!r}: {', '.join(unknown)} not in NAS-Bench-201, whose operations"
      f" are {', '.join(OPS)}"
    )
  genotype = tuple(OPS.index(op) for op, _ in edges)
  if len(genotype) != len(EDGES) or to_string(genotype) != text:
    raise ValueError(
      f"{text!r} is not a NAS-Bench-201 cell, which is written"
      " |OP~0|+|OP~0|OP~1|+|OP~0|OP~1|OP~2|"
    )
  return genotype


def to_index(genotype: Genotype) -> int:
  """The benchmark's index of a cell, in [0, 15,625).

  Raises:
    ValueError: not one operation on each of the six edges.
  """
  _check(genotype)
  rank = functools.reduce(lambda r, op: r * len(OPS) + op, genotype, 0)
  return _indices()[rank]


def from_index(index: int) -> Genotype:
  """The cell with an index of the benchmark.

  Raises:
    ValueError: the index is not in [0, 15,625).
  """
  if not 0 <= index < NUM_CELLS:
    raise ValueError(f"index {index} is not in [0, {NUM_CELLS})")
  rank = _ranks()[index]
  powers = reversed(range(len(EDGES)))
  return tuple(rank // len(OPS) ** power % len(OPS) for power in powers)


@functools.cache
def _ranks() -> tuple[int, ...]:
  """By index, the place of the cell in the enumeration before the shuffle.

  The enumeration starts with `none` on every edge and changes the last edge
  fastest.
  """
  ranks = list(range(NUM_CELLS))
  random.Random(_SEED).shuffle(ranks)
  return tuple(ranks)


@functools.cache
def _indices() -> dict[int, int]:
  """By place in the enumeration, the index of the cell."""
  return {rank: index for index, rank in enumerate(_ranks())}


def _check(genotype: Genotype) -> None:
  if len(genotype) != len(EDGES) or not all(
    0 <= op < len(OPS) for op in genotype
  ):
    raise ValueError(
      f"a NAS-Bench-201 cell has {len(EDGES)} operations in [0, {len(OPS)}),"
      f" got {genotype}"
    )
