"""The report of a run: one HTML file that needs nothing beside it."""

import os
import pathlib

from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.report import family, members, sections, words
from hwnas_jax.report.beside import beside_html
from hwnas_jax.report.run import Run, load
from hwnas_jax.report.summary import summary
from hwnas_jax.report.template import render


def write_report(folder: RunFolder) -> pathlib.Path:
  """Writes a run's report.html: the old file or the new, never half.

  Returns:
    The file.

  Raises:
    FileNotFoundError: the run has no family.json.
    ValueError: a file of the run is damaged.
  """
  page = report_html(load(folder))
  path = folder.report
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
  return path


def report_html(run: Run) -> str:
  """The page of a run; sections without data are left out."""
  bodies = {
    "Accuracy against cost": sections.pareto_html(run),
    "Beside each member": beside_html(run.family),
    "The networks": members.members_html(run),
    "How prices change the operations": sections.shares_html(run),
    "Predicted and measured": sections.prediction_html(run),
    "Training": sections.training_html(run),
    "Search": sections.search_html(run),
    "How to reproduce it": sections.origin_html(run),
  }
  count = len(family.searched(run.family.members))
  versions = run.made_with.versions if run.made_with else {}
  page = render(
    "page.html.jinja",
    title=f"{words.networks(count)} for {run.device_name}",
    name=run.name,
    summary=summary(run),
    tiles=_tiles(run),
    sections={title: body for title, body in bodies.items() if body},
    version=versions.get("hwnas_jax") or "",
  )
  return str(page)


def _tiles(run: Run) -> dict[str, str]:
  """The numbers at the top of the page by name."""
  searched = family.searched(run.family.members)
  times = [t for m in searched if (t := m.latency_ms) is not None]
  scores = [a for m in searched if (a := family.accuracy(m)) is not None]
  tiles = {}
  if times:
    tiles["Measured latency"] = words.extent(times, words.ms)
  if scores:
    tiles["Test accuracy"] = words.extent(scores, words.percent)
  if searched:
    sizes = [m.params for m in searched]
    tiles["Parameters"] = words.extent(sizes, words.count)
  predicted = family.predicted(run.family.members)
  if predicted:
    error = family.prediction_error(predicted).median
    tiles["Median latency prediction error"] = words.percent(error)
  return tiles
