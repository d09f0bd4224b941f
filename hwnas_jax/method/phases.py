"""The phases of a search: a static list, each compiled as one step.

A phase says what is updated (weights, controller or both), on which examples
and by which gradient. A phase may be repeated, as when weights and controller
alternate by the epoch; equal phases are compiled once.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from hwnas_jax.method.estimators import Estimator, State

ORDERS = ("first", "exact", "difference")


class Phase(NamedTuple):
  """What a step does.

  estimator: gives the gradients.
  weights, controller: which of the two are updated.
  joint: both by one gradient, on the weights' examples and sample (one-level);
    else the controller steps first, on its own examples, then the weights.
  order: of the controller's gradient, one of ORDERS: "first" takes the weights
    as they are, the others look ahead at their step (`hypergradient`).
  start: the first step that updates the controller; the weights start at 0.
  every: the controller is updated at every n-th step.
  same_key: the controller's sample is drawn by the weights' key.
  surrogate: the controller is trained alone, against a surrogate of quality in
    place of the cross-entropy; neither weights nor images are read.
  """

  estimator: Estimator
  weights: bool = True
  controller: bool = True
  joint: bool = False
  order: str = "first"
  start: int = 0
  every: int = 1
  same_key: bool = False
  surrogate: bool = False


class Span(NamedTuple):
  """A phase, and the step of the search at which it ends."""

  phase: Phase
  end: int


def plan(
  main: Phase,
  num_steps: int,
  *,
  warmup_steps: int = 0,
  warmup: Estimator | None = None,
  epoch_steps: int = 0,
  controller_epoch_steps: int = 0,
) -> list[Span]:
  """The phases of a search, in order.

  Args:
    main: repeated until the end.
    num_steps: of the whole search.
    warmup_steps: at first, of the weights alone; by the same compiled step as
      what follows, unless that needs another one or has no weights.
    warmup: the estimator of the warm-up, where it is not that of `main`.
    epoch_steps: weights and controller alternate, each for so many steps
      (FBNet, LightNAS); 0: both at every step.
    controller_epoch_steps: of the controller's turns, where it has another
      number of examples; 0: as the weights'.
  """
  alone = main._replace(
    weights=True,
    controller=False,
    joint=False,
    order="first",
    every=1,
    surrogate=False,
  )
  if main.weights and not (warmup or epoch_steps):
    return [Span(main._replace(start=warmup_steps), num_steps)]
  spans = []
  if warmup_steps:
    estimator = warmup or main.estimator
    spans.append(Span(alone._replace(estimator=estimator), warmup_steps))
  if not epoch_steps:
    return [*spans, Span(main, num_steps)]
  turns = itertools.cycle(
    (
      (alone, epoch_steps),
      (
        main._replace(weights=False, every=1),
        controller_epoch_steps or epoch_steps,
      ),
    )
  )
  end = warmup_steps
  while end < num_steps:
    phase, steps = next(turns)
    end = min(end + steps, num_steps)
    spans.append(Span(phase, end))
  return spans


def weights_steps(spans: Sequence[Span]) -> int:
  """The number of steps that update the weights."""
  starts = (0, *(span.end for span in spans))
  return sum(
    span.end - start
    for start, span in zip(starts, spans, strict=False)
    if span.phase.weights
  )


def current(spans: Sequence[Span], step: int) -> Phase:
  """The phase of a step; steps are counted from 0."""
  return next(span.phase for span in spans if step < span.end)


def levels(phase: Phase) -> tuple[int, ...]:
  """Whose examples a phase reads: 0, the weights', and 1, the controller's."""
  if phase.surrogate:
    return ()
  if phase.joint:
    return (0,)
  weights = phase.weights or phase.order != "first"
  read = (weights, phase.controller)
  return tuple(level for level, reads in enumerate(read) if reads)


def different(spans: Sequence[Span]) -> list[Phase]:
  """Each phase once, in the order in which they come."""
  return list(dict.fromkeys(span.phase for span in spans))


def init(spans: Sequence[Span]) -> State:
  """The initial state of the phases' estimators."""
  state: State = {}
  for phase in different(spans):
    state |= phase.estimator.init()
  return state
