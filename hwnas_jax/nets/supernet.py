"""`Net`: a supernet as two pure functions, the same in every space."""

import functools
from typing import Any, NamedTuple, Protocol

import jax

from hwnas_jax.core.types import Array, Params, Paths
from hwnas_jax.nets import probe
from hwnas_jax.nets.ops import make_op
from hwnas_jax.spaces.spec import Site


class Init(Protocol):
  """Draws the weights of a supernet."""

  def __call__(self, key: Array, /) -> Params:
    """Weights as a tree of float32 arrays, from a typed key."""


class Apply(Protocol):
  """Runs a supernet."""

  def __call__(
    self,
    weights: Params,
    mix: Array,
    images: Array,
    /,
    paths: Paths | None = None,
    identity: Array | None = None,
  ) -> Array:
    """Class logits [B, num_classes].

    Args:
      weights: as `Init` gives them.
      mix: [E, O], or [B, E, O] with a row for each example: what each
        operation's output is multiplied with.
      images: [B, H, W, C], normalised; in their type it computes.
      paths: which operations run; None runs all of them.
      identity: [], how much of its input each choice adds to its output; None
        adds nothing.
    """


class Net(NamedTuple):
  """A supernet as two pure functions."""

  init: Init
  apply: Apply


class Selection(NamedTuple):
  """What runs at some choices: mix, paths and identity term.

  rows: [n, (B,) O], the mix of n choices, or [(B,) O] of one.
  paths: [n, .] or [.], of the same choices; None runs all operations.
  identity: [] or None, see `Apply`.
  """

  rows: Array
  paths: Paths | None
  identity: Array | None

  def at(self, index: Any) -> "Selection":
    """The choices at an index: an integer, a slice or an array of integers."""
    rows, paths = jax.tree.map(lambda a: a[index], (self.rows, self.paths))
    return self._replace(rows=rows, paths=paths)


def run_op(site: Site, params: Params, x: Array) -> Any:
  """Runs a site's operation in mode `search`.

  It is jitted, so that an operation is traced once for all choices of one
  shape. XLA inlines it again; the compiled step takes the same time and memory.

  Args:
    site: where it runs.
    params: its weights; {} if it has none.
    x: [B, H, W, C_in].

  Returns:
    [B, H', W', C_out]; of an ImageNet stem two such arrays.
  """
  return _run(site, params, x, probe.counter())


@functools.partial(jax.jit, static_argnums=0)
def _run(site: Site, params: Params, x: Array, counter: jax.Ref | None) -> Any:
  # The counter is an argument: a tracer must not be kept with the trace.
  with probe.counting_relus(counter):
    return make_op(site, "search").apply({"params": params}, x)
