"""Redraws table.md, figure.png and README.md's tables from results.json.

README.md has its tables between START and END, where it has these lines.
"""

import pathlib
from typing import Any

import matplotlib
import numpy as np

from experiments.nasbench201.protocol import choices, data
from experiments.nasbench201.protocol.choices import CANDIDATES
from experiments.nasbench201.protocol.report import (
  CAPACITY,
  CHOOSERS,
  WITHOUT_SHARED,
)
from hwnas_jax.report import style

START, END = "<!-- tables: redrawn by run.py draw -->", "<!-- end of tables -->"
HEAD = ("candidates from", "chosen by", "candidates", "short trainings")
COLOURS = (style.MUTED, style.ACCENT, style.PALETTE[2])
Rows = list[dict[str, Any]]


def key(row: dict[str, Any]) -> tuple[str, str, int]:
  """What a row is called by in all parts."""
  return row["source"], row["chooser"], row["candidates"]


def markdown(head: tuple[str, ...], lines: list[list[str]]) -> str:
  """A table in Markdown."""
  ruled = [list(head), ["---"] * len(head), *lines]
  return "".join(f"| {' | '.join(line)} |\n" for line in ruled)


def numbers(row: dict[str, Any]) -> str:
  """Mean, its deviation over repeats, and the worst setting."""
  return f"{row['mean']:.3f} ({row['sd']:.3f}) / {row['worst']:.3f}"


def table(parts: dict[str, Rows], sources: tuple[str, ...] = ()) -> str:
  """A line for each picker of `sources`, or of all, with every part."""
  scores = [{key(row): row for row in parts[part]} for part in data.PARTS]
  lines = []
  for name, row in scores[-1].items():
    if not sources or row["source"] in sources:
      short = "all" if row["short"] is None else f"{row['short']:g}"
      size = f"{row['candidates'] or 'all'}"
      line = [row["source"], row["chooser"], size, short]
      lines.append(line + [numbers(rows[name]) for rows in scores])
  return markdown((*HEAD, *data.PARTS), lines)


def equal(rows: Rows) -> dict[str, list[dict[str, Any]]]:
  """By source, the rows of CHOOSERS where there are CANDIDATES candidates."""
  by_key = {key(row): row for row in rows}
  keys = [(s, [(s, c, CANDIDATES) for c in CHOOSERS]) for s, _, _ in by_key]
  return {
    source: [by_key[name] for name in names]
    for source, names in keys
    if all(name in by_key for name in names)
  }


def equal_table(parts: dict[str, Rows]) -> str:
  """Sources of candidates against who chooses, on both parts reported."""
  other, every = equal(parts["other"]), equal(parts["all"])
  head = [f"{c}, {part}" for c in CHOOSERS for part in ("other", "all")]
  lines = [
    [source, *(numbers(r[i]) for i in range(3) for r in (other[source], rows))]
    for source, rows in every.items()
  ]
  return markdown((f"{CANDIDATES} candidates from", *head), lines)


def added_table(parts: dict[str, Rows]) -> str:
  """What controllers' candidates add to the shortlist, on equal shuffles."""
  lines = []
  for part in ("other", "all"):
    rows = parts[part]
    for union in rows:
      if not union["source"].startswith(f"{CAPACITY} and"):
        continue
      size = union["candidates"]
      size -= CANDIDATES * (size > CANDIDATES)
      alone = next(
        r for r in rows if key(r) == (CAPACITY, union["chooser"], size)
      )
      cells = []
      for name in ("means", "worsts"):
        repeats = len(union[name])
        gain = np.subtract(union[name], alone[name][:repeats])
        cells.append(f"{gain.mean():+.4f} ({gain.std(ddof=1):.4f})")
      sizes = f"{union['candidates']} against {size}"
      lines.append([part, union["source"], union["chooser"], sizes, *cells])
  head = ("cells", "union", "chosen by", "candidates", "mean", "worst")
  return markdown(head, lines)


def shared_table(parts: dict[str, Rows]) -> str:
  """What a supernet's weights add to the committee, on equal repeats."""
  lines = []
  short = f"best of {choices.FINALISTS} short trainings"
  for part in data.PARTS:
    rows = {row["chooser"]: row for row in parts[part] if _ranks_largest(row)}
    for name in WITHOUT_SHARED:
      pairs = (("committee", name), (short, f"{name}, {short}"))
      for with_it, without in pairs if name in rows else ():
        gains = [
          np.subtract(rows[with_it][values], rows[without][values])
          for values in ("means", "worsts")
        ]
        cells = [f"{g.mean():+.4f} ({g.std(ddof=1):.4f})" for g in gains]
        lines.append([part, without, numbers(rows[without]), *cells])
  head = ("cells", "without", "score", "the committee adds, mean", "worst")
  return markdown(head, lines) if lines else ""


def _ranks_largest(row: dict[str, Any]) -> bool:
  """Whether a row's candidates are a shortlist of more than CANDIDATES."""
  return row["source"] == CAPACITY and row["candidates"] > CANDIDATES


@matplotlib.rc_context(style.RC)
def figure(rows: Rows, path: pathlib.Path) -> None:
  """Mean (full) and worst setting (empty) at equal candidates, as a PNG."""
  found = dict(reversed(equal(rows).items()))
  fig, ax = style.new_axes("", 9.5, 1.2 + 0.42 * len(found))
  for i, (chooser, colour) in enumerate(zip(CHOOSERS, COLOURS, strict=True)):
    chosen = [group[i] for group in found.values()]
    places = np.arange(len(found)) + 0.22 * (1 - i)
    means, deviations = ([r[n] for r in chosen] for n in ("mean", "sd"))
    worst = [row["worst"] for row in chosen]
    ax.plot(worst, places, "o", color=colour, fillstyle="none", markersize=5)
    ax.errorbar(
      means,
      places,
      xerr=deviations,
      fmt="o",
      color=colour,
      markersize=5,
      label=chooser,
    )
  ax.set_yticks(range(len(found)), list(found), fontsize=9)
  ax.set_xlabel("hypervolume over the true front's, all cells")
  ax.grid(axis="x", color=style.GRID, linewidth=0.8)
  style.add_legend(ax)
  fig.savefig(path, dpi=110)


def draw(results: dict[str, Any], out: pathlib.Path) -> None:
  """Writes OUT/figure.png and OUT/table.md, and the tables of OUT/README.md."""
  parts = results["parts"]
  figure(parts["all"], out / "figure.png")
  (out / "table.md").write_text(table(parts))
  readme = out / "README.md"
  if not readme.exists():
    return
  before, rest = readme.read_text().split(START)
  few = table(parts, ("all that fit", CAPACITY))
  texts = [few, equal_table(parts), added_table(parts), shared_table(parts)]
  tables = "\n".join(["", *filter(None, texts)])
  after = rest.split(END)[1]
  readme.write_text(f"{before}{START}\n{tables}\n{END}{after}")
