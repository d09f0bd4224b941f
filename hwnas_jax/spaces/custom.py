"""The space of a user's model, as `nets.tracing.trace` reads it."""

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
  """A user's model with choices in it.

  name: of the model's class or function.
  image: (height, width, channels) of the input.
  traced: the choices and sites that tracing the model gave.
  programs: digests of all that the model computes: by choice of inference, and
    by mode of the whole. A run that began with others is refused.
  model: makes the user's flax module; see `nets.user_model.instance`.
  program: digest of `traced`. It is part of the repr, by which a latency
    table's calibration or a plan of another model of that name is refused.
  """

  name: str
  image: tuple[int, int, int]
  num_classes: int
  traced: Space = dataclasses.field(repr=False)
  programs: dict[str, str] = dataclasses.field(repr=False, hash=False)
  model: Callable[..., Any] = dataclasses.field(repr=False)
  program: str = dataclasses.field(init=False)

  def __post_init__(self) -> None:
    text = repr(self.traced).encode()
    digest = hashlib.sha256(text).hexdigest()[:8]
    object.__setattr__(self, "program", digest)

  @property
  def ops(self) -> tuple[str, ...]:
    """[O] names of the operations of all choices together."""
    return self.traced.ops

  def space(self) -> Space:
    """The choices; a choice has no site for an operation it does not offer."""
    return self.traced

  def live(self, genotype: Genotype) -> tuple[bool, ...]:
    """Every chosen operation runs: how choices connect is not traced."""
    return tuple(op != ABSENT for op in genotype)

  def alive(self, genotype: Genotype) -> bool:
    """Every network counts as alive: how choices connect is not traced."""
    return all(self.live(genotype))

  def graph(self) -> Graph:
    """The choices as a chain, in the order in which the model calls them."""
    count = len(self.traced.choices)
    edges = tuple((index, index + 1) for index in range(count))
    return Graph(edges, (0,), (count,))
