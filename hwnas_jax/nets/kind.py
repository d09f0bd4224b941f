"""`SpaceKind`: everything that the package needs of a search space.

A new space is its Spec in `spaces`, its modules and its SpaceKind in a file of
`nets`, and a line in `nets.models.SPACES`. Everything else reads the SpaceKind.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from hwnas_jax.core.types import Genotype, Params
from hwnas_jax.nets.norm import Mode
from hwnas_jax.nets.ops import Module
from hwnas_jax.nets.supernet import Net
from hwnas_jax.spaces.spec import Spec


class MakeSpec(Protocol):
  """Makes a space's Spec of what a config says."""

  def __call__(
    self,
    values: Mapping[str, Any],
    image: tuple[int, int, int],
    num_classes: int,
  ) -> Spec:
    """The numbers that determine the networks.

    Args:
      values: of all fields of the space, by name. Others are ignored.
      image: (height, width, channels) of the data.
      num_classes: of the data.

    Raises:
      ValueError: there are no such networks; the message names the field.
    """


class MakeSupernet(Protocol):
  """Makes a supernet."""

  def __call__(self, net: Any, /) -> Net:
    """The weight-sharing supernet: every operation at every choice.

    Args:
      net: a Spec of the kind.
    """


class MakeNetwork(Protocol):
  """Makes a derived network."""

  def __call__(self, net: Any, genotype: Genotype, mode: Mode, /) -> Module:
    """A flax module: module(images[, drop_rate]) -> (logits, auxiliary).

    Both are float32[B, num_classes]; the second is None where there is no
    auxiliary head. The module has a field `net`, the Spec.

    Args:
      net: a Spec of the kind.
      genotype: one operation a choice, or ABSENT.
      mode: see `nets.norm`.
    """


class Inherit(Protocol):
  """Picks one network's weights out of a supernet's."""

  def __call__(
    self, net: Any, genotype: Genotype, weights: Params, /
  ) -> Params:
    """The weights that the network in mode `search` has, by its names.

    Args:
      net: a Spec of the kind.
      genotype: the network's.
      weights: the supernet's.
    """


class CheckDerived(Protocol):
  """Compares the supernet with the networks that are derived from it."""

  def __call__(
    self, net: Any, derived: Any, training: Mapping[str, float], /
  ) -> None:
    """Raises ValueError where they do not fit; the message names the fields.

    Args:
      net: the Spec of the supernet.
      derived: the Spec of the networks.
      training: values of the `training_fields`.
    """


class Widen(Protocol):
  """Makes networks larger."""

  def __call__(self, net: Any, width: float, side: float, /) -> Spec:
    """The same networks with more channels and for larger images.

    Args:
      net: a Spec of the kind.
      width: multiplies channels, in multiples of 8.
      side: multiplies the image's height and width, in multiples of 4.
    """


class MakeReference(Protocol):
  """Makes the architecture that a person would have taken."""

  def __call__(self, net: Any, /) -> Genotype:
    """A well-known architecture in the space's terms.

    Scaled in width to a latency, it is a baseline of the search.

    Args:
      net: a Spec of the kind.
    """


class Overrides(Protocol):
  """Gives the config fields of the networks that `Widen` made."""

  def __call__(self, net: Any, wanted: Any, /) -> list[tuple[str, Any]]:
    """[(config field, its value)]; the image is data and has no field.

    Args:
      net: the Spec of the config as it is.
      wanted: the wider Spec.
    """


class SpaceKind(NamedTuple):
  """One search space.

  spec: the class of its Spec; no other space has it.
  fields: its fields of config.space with their defaults. Spaces that share a
    field's name share its default. A text whose default is "" has to be given.
  make, make_supernet, make_network, inherit: see their protocols.
  make_auxiliary: as make_network, with a head that only training uses; None
    where networks have no such head.
  choices: of a field with few values, what each of them means, a line each.
  positive: fields whose number has to be above 0.
  smoke: values of some fields that make the smallest useful networks.
  derive_fields: fields of config.derive that it reads. Each is a field of the
    Spec too, and 0 leaves that as it is.
  training_fields: fields of config.train that it reads and others need not.
  check_derived: None where any two Specs fit.
  widen, overrides: None where networks cannot be made larger.
  reference: None where no architecture is well known.
  classifier: whether the supernet's weights have a "classifier", which a
    controller may generate (config.controller.classifier).
  own_init: whether a network's weights start as its modules' `init` says. If
    not they are drawn by `nets.init.draw`, all at once.
  """

  spec: type[Any]
  fields: Mapping[str, Any]
  make: MakeSpec
  make_supernet: MakeSupernet
  make_network: MakeNetwork
  inherit: Inherit
  make_auxiliary: MakeNetwork | None = None
  choices: Mapping[str, Mapping[str, str]] = {}
  positive: tuple[str, ...] = ()
  smoke: Mapping[str, Any] = {}
  derive_fields: tuple[str, ...] = ()
  training_fields: tuple[str, ...] = ()
  check_derived: CheckDerived | None = None
  widen: Widen | None = None
  overrides: Overrides | None = None
  reference: MakeReference | None = None
  classifier: bool = False
  own_init: bool = False
