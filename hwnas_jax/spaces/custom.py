"""The space of a user's own model, as `nets.tracing.trace` found it."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

from hwnas_jax.core.graph import Graph
from hwnas_jax.core.types import ABSENT, Genotype
from hwnas_jax.spaces.spec import Space

# The fixed site: the model with every choice replaced by a shortcut.
OUTSIDE = "outside_choices"


@dataclasses.dataclass(frozen=True)
class Custom:
  """A model with choices in it.

  name: of the model.
  image: (height, width, channels) of the input.
  found: what tracing found.
  model: (mode, num_classes) -> the user's module, as far as it takes them.
  """

  name: str
  image: tuple[int, int, int]
  num_classes: int
  found: Space = dataclasses.field(repr=False)
  model: Callable[..., Any] = dataclasses.field(repr=False)
  program: str = dataclasses.field(init=False)

  def __post_init__(self) -> None:
    # Beside the name, so that tables and plans of another model are refused.
    text = repr(self.found).encode()
    digest = hashlib.sha256(text).hexdigest()[:8]
    object.__setattr__(self, "program", digest)

  @property
  def ops(self) -> tuple[str, ...]:
    """[O] names, of all choices together."""
    return self.found.ops

  def space(self) -> Space:
    """The choices and their sites, without a site where one lacks it."""
    return self.found

  def live(self, genotype: Genotype) -> tuple[bool, ...]:
    """All that is chosen runs: which states it joins is the model's affair."""
    return tuple(op != ABSENT for op in genotype)

  def graph(self) -> Graph:
    """The choices as a chain, in the order in which the model calls them."""
    count = len(self.found.choices)
    edges = tuple((index, index + 1) for index in range(count))
    return Graph(edges, (0,), (count,))
