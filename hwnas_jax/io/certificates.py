"""The records of a query: certificate.json, and the run's scores.json.

Latencies are in ms; accuracies are shares of one.
"""

from typing import Literal

from hwnas_jax.io.records import (
  Accuracies,
  Architecture,
  Device,
  Measurement,
  Record,
)

# Who proposed a candidate of a query: the controller's logits, the largest
# architectures that keep the budgets, or both.
Source = Literal["controller", "capacity", "both"]


class Budget(Record, frozen=True):
  """The budgets of a query.

  latency: as it was given, such as `60%`. latency_ms: the same in ms.
  limits: further budgets by name: params, macs, memory_mb.
  """

  latency: str
  latency_ms: float
  limits: dict[str, float] = {}


class Margin(Record, frozen=True, kw_only=True):
  """The margin of a calibration: the factor from a prediction to its bound.

  ratio: the factor.
  Levels are shares of the networks, drawn as the calibration's were, that keep
  the bound.
  """

  ratio: float
  nominal_level: float
  attained_level: float
  guaranteed_level: float
  networks: int


class Tried(Record, frozen=True):
  """A network that a query measured on its way.

  measured: None if its memory exceeds the limit.
  """

  predicted_ms: float
  measured: Measurement | None
  source: Source


class Vote(Record, frozen=True, kw_only=True):
  """What a judge says of a query's answer.

  weight: how much its ranks count in the committee.
  score: higher is better; None where it is not finite.
  place: 1 is the best of all architectures that were compared, and of equal
    ones all have the first's.
  """

  judge: str
  weight: float
  score: float | None
  place: int


class Committee(Record, frozen=True, kw_only=True):
  """How a query's candidates were ranked.

  compared: architectures, those that only the latency budget excludes too.
  place: the answer's, 1 is the best.
  left_out: why, by judge that does not apply.
  """

  compared: int
  place: int
  votes: tuple[Vote, ...]
  left_out: dict[str, str] = {}


class Rival(Record, frozen=True, kw_only=True):
  """A network that keeps a query's budgets too, to compare the answer with.

  macs: of what reaches the output, an image.
  predicted_ms: None of a network scaled in width: the table has none of these.
  measured: None if it was not measured on the table's device.
  test_accuracy: None unless the run trained it.
  width: factor of the run's channels; not 1 of a reference alone.
  """

  id: str
  architecture: Architecture
  macs: int
  predicted_ms: float | None
  measured: Measurement | None = None
  test_accuracy: float | None = None
  width: float = 1.0

  @property
  def latency_ms(self) -> float:
    """Median measured latency; the predicted one where it was not measured."""
    if self.measured:
      return self.measured.median_ms
    assert self.predicted_ms is not None
    return self.predicted_ms


class Finalist(Record, frozen=True, kw_only=True):
  """A candidate that a query trained briefly.

  steps: of its longest training, under a whole cosine of its own.
  seconds: of its trainings, those of an earlier query too; None where one was a
    single dispatch, which no log times.
  held_out_accuracy: after the longest, on examples held out of it.
  """

  id: str
  source: Source
  predicted_ms: float
  measured: Measurement | None
  steps: int
  seconds: float | None
  held_out_accuracy: float


class Scores(Record, frozen=True, kw_only=True):
  """scores.json: what judges said of a run's architectures.

  digest: of all that they read.
  scores: by judge, by the id of what reaches an architecture's output; None
    where one is not finite. left_out: why, by judge that does not apply.
  """

  digest: str
  scores: dict[str, dict[str, float | None]] = {}
  left_out: dict[str, str] = {}


class TableIdentity(Record, frozen=True):
  """Which latency table: its device's name, and the file's digest."""

  fingerprint: str
  digest: str


class Certificate(Record, frozen=True, kw_only=True):
  """How a query's answer was chosen, and how its latency is known.

  kind: `measured` on the table's own device, else `predicted` by the table.
  source: who proposed the answer.
  candidates: how many were predicted to keep every budget, by source.
  unconstrained_best_fits: no network without the latency budget ranks better.
  committee: how they were ranked.
  largest: the one of most multiply-accumulates of those predicted to keep the
    budgets and not measured to be too slow, or measured to keep them; of
    equally large ones the one of lower predicted latency.
  random: the run's random architectures that keep them, the slowest first. Each
    was drawn at the latency of a trained member, and may take much less than
    the budget.
  reference: the largest of the run's references, each scaled in width to the
    latency of a trained member, that keeps them; None where there is none.
  finalists: those that were trained briefly, best first; the first is the
    answer.
  simplex: the device's prices. simplex_residual: the part of its table that
    these prices do not explain, as a share of the table's norm.
  weights: `trained`, `inherited` from the supernet, or `none` with the reason.
  """

  kind: Literal["measured", "predicted"]
  budget: Budget
  predicted_ms: float
  measured: Measurement | None
  tried: tuple[Tried, ...]
  margin: Margin | None
  source: Source
  candidates: dict[Source, int]
  unconstrained_best_fits: bool
  largest: Rival
  random: tuple[Rival, ...] = ()
  reference: Rival | None = None
  committee: Committee
  finalists: tuple[Finalist, ...] = ()
  simplex: tuple[float, ...]
  simplex_residual: float
  batch_size: int
  table: TableIdentity
  device: Device
  versions: dict[str, str | None]
  weights: str = ""
  accuracies: Accuracies = Accuracies()
