"""Runs candidates one by one through a supernet, as single paths.

The operations of a candidate are an argument of the compiled program, so that
one program serves all candidates; no other operation runs. A choice that is
ABSENT runs nothing.
"""

import collections
import functools
import threading
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.types import ABSENT, Array, Genotype, Params, Paths
from hwnas_jax.nets.supernet import Net

# Of two threads that run the same program, one compiles it.
_compiling: collections.defaultdict[Any, threading.Lock] = (
  collections.defaultdict(threading.Lock)
)


class Forward(Protocol):
  """A candidate's network."""

  def __call__(self, weights: Params, images: Array, /) -> Array:
    """Class logits [B, num_classes].

    Args:
      weights: of the supernet.
      images: [B, H, W, C], normalised.
    """


class Program(Protocol):
  """What is computed of each candidate; it is traced once."""

  def __call__(self, forward: Forward, data: Any, /) -> Any:
    """Arrays, of one shape for all candidates, from a pytree of arrays."""


def evaluate(
  program: Program,
  net: Net,
  num_ops: int,
  genotypes: Sequence[Genotype],
  data: Any,
) -> Any:
  """What a program gives for each candidate: its arrays, stacked: [N, ...].

  It is compiled once for a program, a net and the shapes of the data, whatever
  the number of candidates.

  Args:
    program: a function of a module: an equal one is what finds it compiled.
    net: the supernet.
    num_ops: O, columns of a mix.
    genotypes: [N], at least one.
    data: what the program gets beside the candidate.
  """
  columns = np.asarray(genotypes, np.int32)
  with _compiling[program]:
    first = _run(program, net, num_ops, columns[0], data)
  # Calls return before they have run: the next is sent off meanwhile.
  others = [_run(program, net, num_ops, row, data) for row in columns[1:]]
  return jax.tree.map(lambda *arrays: np.stack(arrays), first, *others)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run(
  program: Program, net: Net, num_ops: int, columns: Array, data: Any
) -> Any:
  """One candidate, as columns int32[E]."""
  absent = columns == ABSENT
  paths = Paths(jnp.maximum(columns, 0)[:, None], absent=absent[:, None])
  mix = jax.nn.one_hot(columns, num_ops)  # zeros where absent

  def forward(weights: Params, images: Array) -> Array:
    return net.apply(weights, mix, images, paths)

  return program(forward, data)
