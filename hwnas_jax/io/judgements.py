"""judgements.json: what judges said of random architectures."""

from hwnas_jax.io.records import Architecture, Record


class Judgements(Record, frozen=True, kw_only=True):
  """Scores that a surrogate of quality is fitted to.

  scores: by judge, one for each architecture; None where the judge has none. A
    judge is added when it has finished.
  left_out: by judge, why it does not apply.
  wall_s: seconds that the judges took together.
  rank_correlation: Spearman's, of the committee's ranks and the surrogate's
    predictions when each is left out; None until all judges have finished.
  """

  architectures: tuple[Architecture, ...]
  scores: dict[str, tuple[float | None, ...]] = {}
  left_out: dict[str, str] = {}
  wall_s: float = 0.0
  rank_correlation: float | None = None
