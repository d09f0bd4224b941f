"""What a search space is: static, hashable data.

A *choice* is one decision, such as an edge of a cell or a layer of a chain. A
*site* is one place where an operation runs, with the shape it sees there. A
choice that several cells share has a site in each of them. The rest of the
package reads a space through `Space` and `Spec` alone.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Protocol

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

# What a site is for. The space says it; timing, costs and tables read it.
#   fixed  outside the choices: every architecture runs it.
#   added  an operation of a choice whose output is added into a sum, as on an
#          edge of a cell. The addition is a part of its latency.
#   layer  an operation of a choice whose output is handed on as it is.
#   free   an operation of a choice that runs nothing: it is absent from the
#          sum, or its output is its input.
SiteKind = Literal["fixed", "added", "layer", "free"]


@dataclasses.dataclass(frozen=True, order=True)
class Site:
  """One operation at one shape: an entry of the latency table.

  height, width, channels_in describe the input; `stride` the operation.
  program: of a user's operation, the digest of what it computes, which its
    name and shape do not determine. "" for this package's operations.
  modules: of a user's operation, its flax module by mode.
  kind: see `SiteKind`; None where the site was read from a file, which does not
    store it. Two sites that differ only in kind or modules are equal.
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
  kind: SiteKind | None = dataclasses.field(
    default=None, compare=False, repr=False
  )

  @property
  def key(self) -> str:
    """The entry's name, such as `sep_conv_3x3 28x28x16->16 s1`."""
    shape = f"{self.height}x{self.width}x{self.channels_in}"
    text = f"{self.op} {shape}->{self.channels_out} s{self.stride}"
    return f"{text} #{self.program}" if self.program else text

  def to_json(self) -> dict[str, Any]:
    """The fields that name it: `Site(**fields)` is an equal site."""
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

  ops: [O] names of the operations, the columns.
  choices: [E] names of the choices, the rows.
  sites: [E][O] the sites where operation o runs if choice e takes it; empty
    where the choice does not offer the operation.
  fixed: the sites outside the choices (stem, preprocessing, classifier).
  group: [E] the group of each choice, such as a node of a cell type. A
    controller may have parameters for each group; `top_k` ranks within it.
  keep: how many choices of a group the rule `top_k` keeps.
  skip: the operation that hands on its input where the shape stays, if one
    does. Its share is logged, and `derive.max_skips` limits it.

  Raises:
    ValueError: one site has two kinds. The latency table has one entry for it.
  """

  ops: tuple[str, ...]
  choices: tuple[str, ...]
  sites: tuple[tuple[tuple[Site, ...], ...], ...]
  fixed: tuple[Site, ...]
  group: tuple[int, ...]
  keep: int
  skip: str | None = dataclasses.field(default=None, repr=False)

  def __post_init__(self) -> None:
    kinds: dict[Site, SiteKind | None] = {}
    for site in self._all_sites():
      kind = kinds.setdefault(site, site.kind)
      if kind != site.kind:
        raise ValueError(
          f"the site {site.key} is of kind {kind} in one place and"
          f" {site.kind} in another: give one of the two operations another"
          " name"
        )

  def _all_sites(self) -> list[Site]:
    at_choices = [s for row in self.sites for cell in row for s in cell]
    return [*at_choices, *self.fixed]

  @property
  def shape(self) -> tuple[int, int]:
    """(E, O)."""
    return len(self.choices), len(self.ops)

  def allowed(self) -> np.ndarray:
    """bool[E, O]: which operations each choice offers."""
    return np.asarray([[bool(cell) for cell in row] for row in self.sites])

  def unique_sites(self) -> tuple[Site, ...]:
    """Every distinct site, fixed ones included, sorted."""
    return tuple(sorted(set(self._all_sites())))

  def cost_array(self, site_cost: Mapping[str, float]) -> np.ndarray:
    """What each operation of each choice costs: float32[E, O].

    Args:
      site_cost: cost of a site by its key. The unit is the caller's.

    Returns:
      The sum over the sites of the choice, in that unit; 0 where the choice
      does not offer the operation.

    Raises:
      KeyError: a site has no cost; the message is its key.
    """
    rows = [
      [sum(site_cost[s.key] for s in cell) for cell in row]
      for row in self.sites
    ]
    return np.asarray(rows, np.float32)

  def base_cost(self, site_cost: Mapping[str, float]) -> float:
    """What the fixed sites cost together; see `cost_array`."""
    return float(sum(site_cost[s.key] for s in self.fixed))


class Spec(Protocol):
  """The numbers that determine a space's networks, as a frozen dataclass.

  Its repr names the space in files: class and fields keep their names.
  """

  def __hash__(self) -> int:
    """Of its fields: a program that is compiled of it is kept by it."""

  @property
  def ops(self) -> tuple[str, ...]:
    """[O] names of the operations, the columns."""

  @property
  def image(self) -> tuple[int, int, int]:
    """(height, width, channels) of the input."""

  @property
  def num_classes(self) -> int:
    """Number of classes: the network returns so many logits an image."""

  def space(self) -> Space:
    """The choices and their sites."""

  def live(self, genotype: Genotype) -> tuple[bool, ...]:
    """[E] which choices an input reaches and whose output reaches the logits.

    A compiler removes the others.
    """

  def alive(self, genotype: Genotype) -> bool:
    """Whether the network's output depends on its input."""

  def graph(self) -> Graph:
    """The choices as edges between states, as predictors read them."""
