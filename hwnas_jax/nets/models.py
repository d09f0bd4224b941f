"""All search spaces by name: supernets and derived networks of any of them.

To add a space, write its Spec in `spaces` and its SpaceKind in a file of
`nets`, and add a line to SPACES. `SPACES["mine"] = kind` in a notebook does it
too: a config is checked against SPACES as it is then.
"""

from collections.abc import Mapping
from typing import Any

from hwnas_jax.core.types import Genotype, Params
from hwnas_jax.nets import custom, darts, mobile, nasbench201
from hwnas_jax.nets.kind import SpaceKind
from hwnas_jax.nets.norm import Mode
from hwnas_jax.nets.ops import Module
from hwnas_jax.nets.supernet import Net
from hwnas_jax.spaces.spec import Spec

# Of fields that networks grow with, such as num_cells: more is a slip.
MOST, MOST_CHANNELS = 256, 4096

SPACES: dict[str, SpaceKind] = {
  "darts": darts.KIND,
  "nasbench201": nasbench201.KIND,
  "mobile": mobile.KIND,
  "custom": custom.KIND,
}


def kind_of(net: Spec) -> SpaceKind:
  """The space that a Spec belongs to.

  Raises:
    ValueError: no space of SPACES has a Spec of that class.
  """
  for kind in SPACES.values():
    if type(net) is kind.spec:
      return kind
  raise ValueError(
    f"no search space has specs of the class {type(net).__name__}: add its"
    " SpaceKind to hwnas_jax.nets.models.SPACES"
  )


def scaled(net: Spec, width: float, side: float = 1.0) -> Spec:
  """A space's networks with more, or fewer, channels and for larger images.

  Channels are rounded to multiples of 8, sides to multiples of 4. Factors of 1
  leave the networks as they are.

  Raises:
    ValueError: the space is a user's own model, which has no width to scale.
  """
  if width == side == 1.0:
    return net
  widen = kind_of(net).widen
  if widen is None:
    raise ValueError(
      "a model of your own has no width to scale: change the model itself"
    )
  return widen(net, width, side)


def make_supernet(net: Spec) -> Net:
  """The weight-sharing supernet: every operation at every choice."""
  return kind_of(net).make_supernet(net)


def make_network(
  net: Spec, genotype: Genotype, mode: Mode, *, auxiliary: bool = False
) -> Module:
  """The network of a genotype: module(images[, drop_rate]) -> two logits.

  Args:
    net: the space.
    genotype: one operation a choice, or ABSENT.
    mode: see `nets.norm`.
    auxiliary: whether it has the head that only training uses.

  Returns:
    The flax module; see `nets.kind.MakeNetwork`.

  Raises:
    ValueError: networks of this space have no auxiliary head.
  """
  kind = kind_of(net)
  make = kind.make_auxiliary if auxiliary else kind.make_network
  if make is None:
    raise ValueError(
      f"networks of {type(net).__name__} have no auxiliary head: set"
      " train.auxiliary_weight to 0"
    )
  return make(net, genotype, mode)


def inherit(net: Spec, genotype: Genotype, weights: Params) -> Params:
  """The supernet's weights of one genotype, by the names of its network.

  They fit mode `search`.
  """
  return kind_of(net).inherit(net, genotype, weights)


def space_fields() -> dict[str, Any]:
  """The fields of config.space, of all spaces, with their defaults.

  Raises:
    ValueError: two spaces have a field of one name with different defaults.
  """
  fields: dict[str, Any] = {}
  for name, kind in SPACES.items():
    for field, default in kind.fields.items():
      if fields.setdefault(field, default) != default:
        raise ValueError(
          f"space.{field} is {fields[field]!r} by default in one space and"
          f" {default!r} in {name}: give it another name there"
        )
  return fields


def field_problems(name: str, values: Mapping[str, Any]) -> list[str]:
  """What is wrong with the fields that a space reads, each by its name.

  Args:
    name: of the space, in SPACES.
    values: of all fields of config.space, by name.
  """
  kind, problems = SPACES[name], []
  for field, allowed in kind.choices.items():
    if values[field] not in allowed:
      problems.append(
        f"space.{field} must be one of {', '.join(map(str, allowed))}, got"
        f" {values[field]!r}"
      )
  problems += [
    f"space.{field} must be > 0, got {values[field]}"
    for field in kind.positive
    if not values[field] > 0
  ]
  problems += [
    f"space.{field} must be <= {most}, got {values[field]}"
    for field in kind.positive
    if values[field] > (most := MOST_CHANNELS if field == "channels" else MOST)
  ]
  problems += [
    f"space.name={name} needs space.{field}"
    for field, default in kind.fields.items()
    if default == "" and not values[field]
  ]
  return problems
