"""`Network`, a run's network as a function of pixels, and `Answer`, a query's.

answer = run.query("1.5ms")
logits = answer.network(pixels)
"""

import dataclasses
import functools
import html
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.compile import jit
from hwnas_jax.core.types import Array, Genotype
from hwnas_jax.data import arrays
from hwnas_jax.data.streamed import SAMPLED, Streamed
from hwnas_jax.io import lock, paths
from hwnas_jax.io.certificates import (
  Certificate,
  Margin,
)
from hwnas_jax.io.exports import Export
from hwnas_jax.io.records import (
  Accuracies,
  ComfortZone,
  Measurement,
  Member,
)
from hwnas_jax.io.run_folder import NetworkFolder
from hwnas_jax.nets.models import scaled
from hwnas_jax.runs import comfort_zone, deploy, programs, training, weights
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

if TYPE_CHECKING:
  from hwnas_jax.runs.run import Run

RANDOM = 64  # images that an export is checked on where the data are not here


@dataclasses.dataclass(frozen=True, repr=False)
class Network:
  """A derived network of a run. Call it on pixels to get class logits.

  member: its record in the family; None if a query made it.
  width: factor of the run's channels; not 1 of a reference alone.

  >>> network = run.networks[0]
  >>> network.latency.median_ms > 0
  True
  >>> network(pixels).shape
  (2, 10)
  """

  run: "Run"
  genotype: Genotype
  member: Member | None
  width: float = 1.0

  @property
  def id(self) -> str:
    """Eight hexadecimal digits that name its architecture and width."""
    space = self.run.nets.derived.space()
    return architecture.identity(space, self.genotype, self.width)

  @property
  def net(self) -> Spec:
    """Its dimensions."""
    return scaled(self.run.nets.derived, self.width)

  @property
  def name(self) -> str:
    """Its name in the family, such as `scale 0.1`; its id if it has none."""
    return self.member.name if self.member else self.id

  @property
  def architecture(self) -> dict[str, str]:
    """{choice: operation}, without the choices that the rule dropped."""
    return architecture.to_json(self.run.nets.derived.space(), self.genotype)

  @property
  def latency(self) -> Measurement | None:
    """Measured latency of a batch of latency.batch_size; None if unmeasured."""
    return self.member.latency if self.member else None

  @property
  def predicted_ms(self) -> float | None:
    """Latency by the run's table, in ms; None if it was not predicted."""
    return self.member.predicted_ms if self.member else None

  @property
  def accuracies(self) -> Accuracies:
    """The accuracies after its training; empty if it was not trained."""
    trained = self.run.folder.network(self.id).accuracies()
    return trained or Accuracies()

  @property
  def test_accuracy(self) -> float | None:
    """Test accuracy, mean over the training seeds; None if not trained."""
    return self.accuracies.test_accuracy

  @property
  def home(self) -> NetworkFolder:
    """The folder with its weights: networks/<id>, or else queries/<id>.

    Raises:
      FileNotFoundError: it has no weights; the message lists the networks that
        have.
    """
    return self.run.folder.find(self.id)

  @functools.cached_property
  def infer(self) -> weights.Infer:
    """A function float32[B, H, W, C] pixels in [0, 255] -> logits.

    It is not compiled, so it can be part of your own jitted function.

    Raises:
      FileNotFoundError: it has no weights.
    """
    return weights.infer_with(
      self.net,
      self.genotype,
      self.home.weights,
      self.run.folder.settings().origin.data,
      self.run.config.precision,
    )

  @functools.cached_property
  def _compiled(self) -> weights.Infer:
    return jit(lambda pixels: self.infer(pixels))

  def __call__(self, pixels: Array | np.ndarray) -> Array:
    """Class logits [B, num_classes] of pixels [B, H, W, C] in [0, 255].

    Compiled in the same way as for its measurement: on CPU with the
    optimisation barriers (docs/decisions.md#barriers-on-cpu).
    """
    return self._compiled(jnp.asarray(pixels, jnp.float32))

  def train(self) -> "Network":
    """Trains it by the run's recipe, unless that was done before.

    Weights that are lost or damaged are written again from the training's last
    state.

    Returns:
      The network with the trained weights.

    Raises:
      FileNotFoundError, ValueError: see `Run.require_training`.
      io.loop.Stopped: asked to stop; the same call resumes.
    """
    with lock.alone(self.run.folder.path):
      return self.train_alone()

  def train_alone(self) -> "Network":
    """As `train`, by a process that has the run folder to itself."""
    run = self.run
    run.require_training()
    path = run.folder.network(self.id).weights
    if self.test_accuracy is None or weights.fault(path):
      training.train_sized(
        run.config,
        run.folder,
        run.dataset,
        run.nets.derived,
        [training.Sized(self.genotype, self.width)],
        run.helpers,
      )
    return Network(run, self.genotype, self.member, self.width)

  def export(
    self, out: str | pathlib.Path, batch_size: int | None = None
  ) -> Export:
    """Writes it as ONNX and StableHLO, with its weights and normalisation.

    The files are run on the test split before they are kept (docs/export.md).

    Args:
      out: the folder to write to.
      batch_size: images a call when the files are measured; None is the run's
        latency.batch_size.

    Returns:
      What export.json holds. `refused` says why a file was not written, such
      as ONNX of an operation that it lacks.

    Raises:
      FileNotFoundError: it has no weights.
      ValueError: a program differs from JAX, or from the accuracy that the run
        recorded; nothing is written.
    """
    paths.require_folder(paths.expand(out))
    measured_at = self.run.config.latency.batch_size
    count = batch_size or measured_at
    images, labels = self._examples()
    known = labels is not None
    network = programs.Deployable(
      id=self.id,
      architecture=self.architecture,
      infer=self.infer,
      data=self.run.folder.settings().origin.data,
      images=images,
      labels=labels,
      test_accuracy=weights.recorded_accuracy(self.home) if known else None,
      latency=self.latency if count == measured_at else None,
    )
    return deploy.write(network, out, count)

  def _examples(self) -> tuple[np.ndarray, np.ndarray | None]:
    """The test split, or random pixels where the run's data are not here.

    Of streamed data it is a sample without labels, for its accuracy is not that
    of the whole split.
    """
    try:
      test = self.run.dataset.test
    except (FileNotFoundError, ValueError) as error:
      print(f"checked on random pixels, not on the test split: {error}")
      shape = (RANDOM, *self.net.image)
      pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
      return pixels, None
    if isinstance(test, Streamed):
      images = arrays.on_device(test, SAMPLED).images
      print(f"checked on {len(images)} of the {len(test)} test images")
      return np.asarray(images), None
    return np.asarray(test.images), np.asarray(test.labels)

  def scale(
    self,
    widths: Sequence[float] = comfort_zone.WIDTHS,
    sides: Sequence[float] = comfort_zone.SIDES,
    tolerance: float = comfort_zone.TOLERANCE,
  ) -> ComfortZone:
    """Finds a larger network that takes no more time on this device.

    See docs/latency.md#comfort-zone.

    Args:
      widths: factors of the channels; 1 is always measured too.
      sides: factors of the image's sides; 1 is always measured too.
      tolerance: share of the latency by which a larger network may exceed it.

    Returns:
      Every scaled network with its latency, and the knee among them.

    Raises:
      ValueError: the space is a user's own model, which has no width to scale;
        or the network was scaled already.
    """
    if self.width != 1.0:
      raise ValueError(
        f"{self.id} is scaled already: it has {self.width:g} times the channels"
        " of the run's networks"
      )
    part = self.run.config.latency
    with lock.alone(self.run.folder.path):
      return comfort_zone.run(
        self.run.folder,
        self.run.nets.derived,
        self.genotype,
        comfort_zone.Grid(tuple(widths), tuple(sides), tolerance),
        comfort_zone.measure_here(
          self.genotype,
          part.batch_size,
          part.repeats,
          self.run.config.precision,
        ),
      )

  def __repr__(self) -> str:
    """Its id and name."""
    return f"Network({self.id}, {self.name})"

  def _repr_html_(self) -> str:
    from hwnas_jax.report import notebook  # imports matplotlib

    family = self.run.folder.family()
    if self.member is None or family is None:
      return html.escape(f"network {self.id}: {self.architecture}")
    return notebook.network_html(self.member, family)


@dataclasses.dataclass(frozen=True)
class Answer:
  """The network for a budget, and how its latency is known.

  >>> answer = run.query("1000ms")
  >>> answer.measured.median_ms <= 1000
  True
  """

  network: Network
  certificate: Certificate

  @property
  def folder(self) -> NetworkFolder:
    """queries/<id>/ of the run folder."""
    return self.network.run.folder.answer(self.network.id)

  @property
  def measured(self) -> Measurement | None:
    """Its latency on the table's device; None if that is not this device."""
    return self.certificate.measured

  @property
  def predicted_ms(self) -> float:
    """Its latency by the table, in ms."""
    return self.certificate.predicted_ms

  @property
  def margin(self) -> Margin | None:
    """The bound on the table's error; None if the table is not calibrated."""
    return self.certificate.margin

  def _repr_html_(self) -> str:
    from hwnas_jax.report import notebook  # imports matplotlib

    return notebook.answer_html(self.certificate)
