"""What every search space is: static, hashable data.

A *choice* is one decision (an edge of a cell template). A *site* is one place
where an operation runs, with the shape it sees there; a choice shared by
several cells has a site in each of them. Everything else in the package reads
a space through this class alone.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from hwnas_jax.core.graph import Graph
from hwnas_jax.core.types import Genotype

SHAPE_FIELDS = (
  "op",
  "height",
  "width",
  "channels_in",
  "channels_out",
  "stride",
)


@dataclasses.dataclass(frozen=True, order=True)
class Site:
  """One operation at one shape: a row of the latency table.

  height, width, channels_in describe the input; `stride` the operation.
  program: of a user's own operation, the digest of what it does; its name
    and shape do not say that.
  modules: of a user's own operation, its module by mode.
  """

  op: str
  height: int
  width: int
  channels_in: int
  channels_out: int
  stride: int = 1
  program: str = ""
  modules: Mapping[str, Any] | None = dataclasses.field(
    default=None, compare=False, repr=False
  )

  @property
  def key(self) -> str:
    """The row's name, e.g. `sep_conv_3x3 28x28x16->16 s1`."""
    shape = f"{self.height}x{self.width}x{self.channels_in}"
    known = f"{self.op} {shape}->{self.channels_out} s{self.stride}"
    return f"{known} #{self.program}" if self.program else known

  def to_json(self) -> dict[str, Any]:
    """Its fields, `Site(**fields)`; without the modules."""
    names = SHAPE_FIELDS + ("program",) * bool(self.program)
    return {name: getattr(self, name) for name in names}

  @property
  def out_size(self) -> tuple[int, int]:
    """(height, width) of the output."""
    return -(-self.height // self.stride), -(-self.width // self.stride)

  @property
  def keeps_shape(self) -> bool:
    """Whether the output has the input's shape."""
    return self.stride == 1 and self.channels_in == self.channels_out


@dataclasses.dataclass(frozen=True)
class Space:
  """A set of architectures.

  ops: [O] names, the columns.
  choices: [E] names, the rows.
  sites: [E][O] the sites that operation o at choice e runs at; none where the
    operation is not one of the choice's.
  fixed: the sites that every architecture runs (stem, preprocess, classifier).
  group: [E] controller group (a node of a cell type).
  keep: choices kept in a group by the top-k discretiser.
  """

  ops: tuple[str, ...]
  choices: tuple[str, ...]
  sites: tuple[tuple[tuple[Site, ...], ...], ...]
  fixed: tuple[Site, ...]
  group: tuple[int, ...]
  keep: int

  @property
  def shape(self) -> tuple[int, int]:
    """(E, O)."""
    return len(self.choices), len(self.ops)

  def allowed(self) -> np.ndarray:
    """bool[E, O]: the operations that each choice has."""
    return np.asarray([[bool(cell) for cell in row] for row in self.sites])

  def unique_sites(self) -> tuple[Site, ...]:
    """Every distinct site, fixed ones included, in a stable order."""
    choice_sites = {s for row in self.sites for cell in row for s in cell}
    return tuple(sorted(choice_sites | set(self.fixed)))

  def cost_array(self, site_cost: Mapping[str, float]) -> np.ndarray:
    """Sums a cost over the sites of each choice: float32[E, O].

    Args:
      site_cost: cost of a site by its key.

    Raises:
      KeyError: a site has no cost; the message is its key.
    """
    rows = [
      [sum(site_cost[s.key] for s in cell) for cell in row]
      for row in self.sites
    ]
    return np.asarray(rows, np.float32)

  def base_cost(self, site_cost: Mapping[str, float]) -> float:
    """Sums a cost over the fixed sites."""
    return float(sum(site_cost[s.key] for s in self.fixed))


class Spec(Protocol):
  """The numbers that fix a search space's networks; all else follows."""

  @property
  def ops(self) -> tuple[str, ...]:
    """[O] names, the columns."""

  @property
  def image(self) -> tuple[int, int, int]:
    """(height, width, channels) of the input."""

  @property
  def num_classes(self) -> int:
    """Classes that the network tells apart."""

  def space(self) -> Space:
    """Its choices and their sites."""

  def live(self, genotype: Genotype) -> tuple[bool, ...]:
    """Which choices reach the output; a compiler removes the others."""

  def graph(self) -> Graph:
    """The choices as edges between states, as predictors read them."""
