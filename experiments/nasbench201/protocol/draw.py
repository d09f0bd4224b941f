"""Redraws the table in README.md and figure.png from results.json."""

import pathlib
from typing import Any

import matplotlib

from experiments.nasbench201.protocol import data
from hwnas_jax.report import style

START, END = "<!-- table: redrawn by run.py draw -->\n", "<!-- end of table -->"
README = pathlib.Path(__file__).parent / "README.md"
HEAD = ("candidates from", "chosen by", "candidates", "short trainings")


def table(results: dict[str, Any]) -> str:
  """The pickers' scores on all parts, in Markdown."""
  parts = results["parts"]
  scores = [{_key(row): row for row in parts[part]} for part in data.PARTS]
  lines = [
    " | ".join(("", *HEAD, *data.PARTS, "")).strip(),
    "|---" * (len(HEAD) + len(data.PARTS)) + "|",
  ]
  for key in scores[-1]:
    row = scores[-1][key]
    short = "every cell" if row["short"] is None else f"{row['short']:g}"
    size = row["candidates"] or "all"
    cells = [row["source"], row["chooser"], f"{size}", short]
    cells += [_numbers(rows[key]) for rows in scores]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


def _key(row: dict[str, Any]) -> tuple[str, str, int]:
  return row["source"], row["chooser"], row["candidates"]


def _numbers(row: dict[str, Any]) -> str:
  return f"{row['mean']:.3f} ({row['sd']:.3f}) / {row['worst']:.3f}"


@matplotlib.rc_context(style.RC)
def figure(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
  """Mean and worst setting of every picker, as a PNG."""
  rows = rows[::-1]
  names = [
    f"{r['source']}: {r['chooser']}, {r['candidates'] or 'all'}" for r in rows
  ]
  title = "hypervolume over the true front's: worst setting and mean, all cells"
  fig, ax = style.new_axes(title, 9.5, 1.0 + 0.21 * len(rows))
  places = range(len(rows))
  means = [row["mean"] for row in rows]
  worst = [row["worst"] for row in rows]
  ax.hlines(places, worst, means, color=style.GRID, linewidth=2)
  ax.plot(worst, places, "o", color=style.MUTED, markersize=4)
  ax.errorbar(
    means,
    places,
    xerr=[row["sd"] for row in rows],
    fmt="o",
    color=style.ACCENT,
    markersize=5,
  )
  ax.set_yticks(places, names, fontsize=7.5)
  ax.set_xlim(left=min(worst) - 0.01)
  ax.grid(axis="x", color=style.GRID, linewidth=0.8)
  fig.savefig(path, dpi=130)


def draw(results: dict[str, Any], out: pathlib.Path) -> None:
  """Writes OUT/figure.png, OUT/table.md and the README's table."""
  figure(results["parts"]["all"], out / "figure.png")
  text = table(results)
  (out / "table.md").write_text(text)
  if out == README.parent:
    before, rest = README.read_text().split(START)
    README.write_text(
      before + START + "\n" + text + "\n" + END + rest.split(END)[1]
    )
