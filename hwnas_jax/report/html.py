"""The report of a run: one HTML file that needs nothing beside it."""

import html
import os
import pathlib

from hwnas_jax.report import family, members, sections, theme, words
from hwnas_jax.report.run import Run, load


def write_report(workdir: str | pathlib.Path) -> pathlib.Path:
  """Writes a run's report.html, at once or not at all.

  Args:
    workdir: the run folder.

  Returns:
    The file.

  Raises:
    FileNotFoundError: the run has no family.json.
    ValueError: a file of the run is damaged.
  """
  page = report_html(load(workdir))
  path = pathlib.Path(workdir) / "report.html"
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
  return path


def report_html(run: Run) -> str:
  """Makes the page of a run; sections without data are left out."""
  found = {
    "Accuracy against cost": sections.pareto_html(run),
    "The networks": members.members_html(run),
    "What prices do": sections.shares_html(run),
    "Predicted and measured": sections.prediction_html(run),
    "Training": sections.training_html(run),
    "Search": sections.search_html(run),
    "How to make it again": sections.origin_html(run),
  }
  kept = {title: body for title, body in found.items() if body}
  count = len(family.split(run.members)[0])
  return theme.PAGE.substitute(
    title=f"{words.networks(count)} for {html.escape(run.device_words)}",
    css=theme.CSS,
    eyebrow=f"hwnas_jax · {html.escape(run.name)}",
    lead="".join(
      f'<p class="lead">{html.escape(text)}</p>' for text in words.summary(run)
    ),
    tiles=_tiles(run),
    nav="".join(f'<a href="#{_anchor(title)}">{title}</a>' for title in kept),
    sections="".join(
      f'<section id="{_anchor(title)}"><h2>{title}</h2>{body}</section>'
      for title, body in kept.items()
    ),
    footer=f"Written by hwnas_jax{_version(run)}.",
  )


def _version(run: Run) -> str:
  version = run.versions.get("hwnas_jax")
  return f" {html.escape(str(version))}" if version else ""


def _anchor(title: str) -> str:
  return title.lower().replace(" ", "-")


def _tiles(run: Run) -> str:
  ours = family.split(run.members)[0]
  times = [t for m in ours if (t := family.latency_ms(m)) is not None]
  scores = [a for m in ours if (a := family.accuracy(m)) is not None]
  sizes = [m["params"] for m in ours]
  tiles = {}
  if times:
    tiles["Measured latency"] = words.span(
      words.ms(min(times)), words.ms(max(times))
    )
  if scores:
    tiles["Test accuracy"] = words.span(
      words.percent(min(scores)), words.percent(max(scores))
    )
  if sizes:
    tiles["Parameters"] = words.span(
      words.count(min(sizes)), words.count(max(sizes))
    )
  known = family.predictions(run.members)
  if known:
    error, _ = family.prediction_error(known)
    tiles["Median latency prediction error"] = words.percent(error)
  return "".join(
    f"<li><span>{name}</span><b>{value}</b></li>"
    for name, value in tiles.items()
  )
