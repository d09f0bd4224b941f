"""The NAS-Bench-201 cell space (Dong and Yang, ICLR 2020, section 2).

stem -> N cells -> residual block -> N cells -> residual block -> N cells ->
head. A cell is a complete graph of four nodes: node 0 is its input, node 3 its
output, a node is the sum of its edges. All cells share the six choices, so the
space has 5 ** 6 = 15,625 cells.
"""

import dataclasses
import functools
import random
import re

from hwnas_jax.core.graph import Graph
from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.spaces.spec import Site, Space

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
# The benchmark's indices are an enumeration that Python shuffled with this.
_SEED = 88


@dataclasses.dataclass(frozen=True)
class NasBench201:
  """The numbers that fix a network; the benchmark's are N = 5 and C = 16.

  num_cells: of each stage.
  channels: of the first stage; each residual block doubles them.
  image: (height, width, channels) of the input, sides multiples of 4.

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
    """Where an operation runs: all edges of a stage see one shape."""
    height, width, _ = self.image
    channels = self.channels * 2**stage
    return Site(op, height >> stage, width >> stage, channels, channels)

  def space(self) -> Space:
    """The search space of this network."""
    return _make_space(self)

  def graph(self) -> Graph:
    """The cell; nodes are states."""
    return Graph(EDGES, (0,), (OUTPUT,), (self.ops.index("none"),))

  def live(self, genotype: Genotype) -> tuple[bool, ...]:
    """Which choices reach the output: a compiler removes the others.

    An edge runs only if its operation is not `none`, its source is reached
    from the cell's input, and its target leads to the cell's output. (After a
    source that is zero a published network adds the shift of a BN, a
    constant: this package runs nothing there.)
    """
    kept = [
      edge
      for edge, op in zip(EDGES, genotype, strict=True)
      if op != ABSENT and self.ops[op] != "none"
    ]
    reached, needed = {0}, {OUTPUT}
    # Sorted by target, so a node is settled before an edge asks for it.
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


def fixed_sites(net: NasBench201) -> tuple[Site, ...]:
  """Stem, the two residual blocks, head: what every architecture runs."""
  height, width, channels = net.image
  stem = Site("stem_conv_3x3", height, width, channels, net.channels)
  last = net.stage_site(NUM_STAGES - 1, "norm_classifier")
  blocks = []
  for stage in range(NUM_STAGES - 1):
    before = net.stage_site(stage, "residual_block")
    doubled = 2 * before.channels_in
    blocks.append(dataclasses.replace(before, channels_out=doubled, stride=2))
  head = dataclasses.replace(last, channels_out=net.num_classes)
  return (stem, *blocks, head)


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
  )


def to_string(genotype: Genotype) -> str:
  """The published form, `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|`.

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
    ValueError: it is not the published form of a cell.
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
  """The benchmark's index of a cell, below 15,625.

  Raises:
    ValueError: not one operation on each of the six edges.
  """
  _check(genotype)
  rank = functools.reduce(lambda r, op: r * len(OPS) + op, genotype, 0)
  return _indices()[rank]


def from_index(index: int) -> Genotype:
  """The cell of an index of the benchmark.

  Raises:
    ValueError: there is no such index.
  """
  if not 0 <= index < NUM_CELLS:
    raise ValueError(f"index {index} is not in [0, {NUM_CELLS})")
  rank = _ranks()[index]
  powers = reversed(range(len(EDGES)))
  return tuple(rank // len(OPS) ** power % len(OPS) for power in powers)


@functools.cache
def _ranks() -> tuple[int, ...]:
  """Of each index, the place of its cell in the enumeration.

  That starts with `none` everywhere and changes the last edge fastest.
  """
  ranks = list(range(NUM_CELLS))
  random.Random(_SEED).shuffle(ranks)
  return tuple(ranks)


@functools.cache
def _indices() -> dict[int, int]:
  """The index of each rank."""
  return {rank: index for index, rank in enumerate(_ranks())}


def _check(genotype: Genotype) -> None:
  if len(genotype) != len(EDGES) or not all(
    0 <= op < len(OPS) for op in genotype
  ):
    raise ValueError(
      f"a NAS-Bench-201 cell has {len(EDGES)} operations in [0, {len(OPS)}),"
      f" got {genotype}"
    )
