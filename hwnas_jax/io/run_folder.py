"""Every path of a run folder, and the records in it.

.lock                          the process that is at work here
config.json versions.json      what ran, on which data and networks, with what
table.json                     the device's latency table
judgements.json                what a surrogate was fitted to, if there is one
search/                        metrics.jsonl, checkpoints
networks/<id>/                 architecture.json, weights.npz, metrics.json,
                               metrics.jsonl, comfort.json, comfort.svg
queries/<id>/                  certificate.json, architecture.json, weights
measured.json                  the networks before the baselines are trained
finalists/<recipe>/            networks that queries trained briefly, a run
                               folder's `networks` for each recipe
scores.json                    what judges said of architectures
family.json report.html        the result
"""

import dataclasses
import pathlib
from typing import TypeVar

from hwnas_jax.core import naming
from hwnas_jax.io import paths, readers, records
from hwnas_jax.io.certificates import Certificate
from hwnas_jax.io.judgements import Judgements
from hwnas_jax.io.records import (
  Accuracies,
  ComfortZone,
  Family,
  MadeWith,
  Network,
  Settings,
)

_R = TypeVar("_R")


@dataclasses.dataclass(frozen=True)
class NetworkFolder:
  """The folder of one network, of `networks` or of `queries`."""

  path: pathlib.Path

  @property
  def id(self) -> str:
    """The network's id."""
    return self.path.name

  @property
  def weights(self) -> pathlib.Path:
    """weights.npz: the first training seed's, or those of the supernet."""
    return self.path / "weights.npz"

  @property
  def metrics(self) -> pathlib.Path:
    """metrics.jsonl: a row of the training after each dispatch."""
    return self.path / "metrics.jsonl"

  @property
  def comfort_figure(self) -> pathlib.Path:
    """comfort.svg."""
    return self.path / "comfort.svg"

  def read_architecture(self) -> Network:
    """architecture.json.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is damaged, or of another network than the folder's.
    """
    path = self.path / "architecture.json"
    network = records.read(path, Network)
    if naming.network_id(network.architecture, network.width) != self.id:
      raise ValueError(
        f"{path} has another network's architecture: the folder's name is a"
        " hash of it. Delete the file and run the run's command again"
      )
    return network

  def write_architecture(self, network: Network) -> None:
    """Writes architecture.json; makes the folder."""
    records.write(self.path / "architecture.json", network)

  def accuracies(self) -> Accuracies | None:
    """metrics.json; None if the network was not trained."""
    return _read_if_there(self.path / "metrics.json", Accuracies)

  def write_accuracies(self, accuracies: Accuracies) -> None:
    """Writes metrics.json, which says that the training is finished."""
    records.write(self.path / "metrics.json", accuracies)

  def comfort_zone(self) -> ComfortZone | None:
    """comfort.json; None where the network was not scaled up."""
    return _read_if_there(self.path / "comfort.json", ComfortZone)

  def write_comfort_zone(self, zone: ComfortZone) -> None:
    """Writes comfort.json."""
    records.write(self.path / "comfort.json", zone)

  def certificate(self) -> Certificate | None:
    """certificate.json; None where the network is no query's answer."""
    return _read_if_there(self.path / "certificate.json", Certificate)

  def write_certificate(self, certificate: Certificate) -> None:
    """Writes certificate.json."""
    records.write(self.path / "certificate.json", certificate)


@dataclasses.dataclass(frozen=True)
class RunFolder:
  """The folder of one run."""

  path: pathlib.Path

  @classmethod
  def at(cls, workdir: str | pathlib.Path) -> "RunFolder":
    """The run folder of a path as a person writes it (`~` is expanded)."""
    return cls(paths.expand(workdir))

  @property
  def table(self) -> pathlib.Path:
    """table.json."""
    return self.path / "table.json"

  @property
  def predictor(self) -> pathlib.Path:
    """predictor.npz, of a run whose cost.predictor names a kind."""
    return self.path / "predictor.npz"

  @property
  def search(self) -> pathlib.Path:
    """search/: metrics.jsonl and checkpoints/."""
    return self.path / "search"

  @property
  def report(self) -> pathlib.Path:
    """report.html."""
    return self.path / "report.html"

  def judgements(self) -> Judgements | None:
    """judgements.json; None where no architecture was judged."""
    return _read_if_there(self.path / "judgements.json", Judgements)

  def write_judgements(self, judgements: Judgements) -> None:
    """Writes judgements.json."""
    records.write(self.path / "judgements.json", judgements)

  @property
  def scores(self) -> pathlib.Path:
    """scores.json."""
    return self.path / "scores.json"

  def finalists(self, recipe: str) -> "RunFolder":
    """A folder for networks that a recipe trained briefly."""
    return RunFolder(self.path / "finalists" / recipe)

  def network(self, name: str) -> NetworkFolder:
    """The folder of a network of the family, or of a random one."""
    return NetworkFolder(self.path / "networks" / _inside(name))

  def answer(self, name: str) -> NetworkFolder:
    """The folder of a query's answer."""
    return NetworkFolder(self.path / "queries" / _inside(name))

  def find(self, name: str) -> NetworkFolder:
    """The folder that has a network's weights.

    Raises:
      FileNotFoundError: there is none; the message lists those with weights.
    """
    for folder in (self.network(name), self.answer(name)):
      if folder.weights.exists():
        return folder
    known = {p.parent.name for p in self.path.glob("*/*/weights.npz")}
    raise FileNotFoundError(
      f"{self.path} has no network {name!r} with weights; it has"
      f" {', '.join(sorted(known)) or 'none'}"
    )

  def settings(self) -> Settings:
    """config.json.

    Raises:
      FileNotFoundError: there is no run.
      ValueError: hwnas_jax 0.1 wrote it, or it is damaged.
    """
    path = self.path / "config.json"
    document = readers.read_json(path)
    if isinstance(document, dict) and document.get("schema", 1) == 1:
      raise ValueError(
        f"{path} is of hwnas_jax 0.1, whose run folders this version does not"
        " read: give the run's command another --workdir, or read it with a"
        " checkout of version 0.1"
      )
    return records.unsealed(path, document, Settings)

  def exists(self) -> bool:
    """Whether a run was begun here."""
    return (self.path / "config.json").exists()

  def write_settings(self, settings: Settings, made_with: MadeWith) -> None:
    """Writes config.json and versions.json; makes the folder."""
    records.write(self.path / "config.json", settings)
    records.write(self.path / "versions.json", made_with)

  def made_with(self) -> MadeWith | None:
    """versions.json; None where it is missing."""
    return _read_if_there(self.path / "versions.json", MadeWith)

  def family(self) -> Family | None:
    """family.json; None if the run is not finished."""
    return _read_if_there(self.path / "family.json", Family)

  def write_family(self, family: Family) -> None:
    """Writes family.json, which replaces measured.json."""
    records.write(self.path / "family.json", family)
    (self.path / "measured.json").unlink(missing_ok=True)

  def measured(self) -> Family | None:
    """measured.json: which baselines are trained; None before they are chosen.

    A run that goes on trains the same ones: another measurement might choose
    others.
    """
    return _read_if_there(self.path / "measured.json", Family)

  def write_measured(self, family: Family) -> None:
    """Writes measured.json."""
    records.write(self.path / "measured.json", family)


def _inside(name: str) -> str:
  """The name, if it is no path: an id may come out of another's file.

  Raises:
    ValueError: it would lead out of the run folder.
  """
  if name in ("", "..") or name != pathlib.PurePath(name).name or "\\" in name:
    raise ValueError(f"{name!r} is no network's id: the report has them")
  return name


def _read_if_there(path: pathlib.Path, kind: type[_R]) -> _R | None:
  return records.read(path, kind) if path.is_file() else None
