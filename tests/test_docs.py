"""The pages in docs: links lead somewhere, and the glossary is in order."""

import importlib.machinery
import json
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = (
  *sorted(ROOT.glob("docs/*.md")),
  ROOT / "BUILD_NOTES.md",
  ROOT / "README.md",
)
LINK = re.compile(r"\]\(([^)\s]*)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.M)
CITED = re.compile(r"docs/(\w+\.md)(?:#([\w-]+))?")
FENCED = re.compile(r"^```.*?^```$", re.M | re.S)


def prose(text: str) -> str:
  """A page without its fenced blocks."""
  return FENCED.sub("", text)


def anchors(text: str) -> set[str]:
  """The names that GitHub gives to a page's headings."""
  headings = HEADING.findall(prose(text))
  kept = (re.sub(r"[^\w\- ]", "", h.lower()) for h in headings)
  return {name.replace(" ", "-") for name in kept}


def broken(page: pathlib.Path, text: str) -> list[str]:
  """The links of a page's text that lead nowhere."""
  links = [at for at in LINK.findall(prose(text)) if "://" not in at]
  return [at for at in links if not leads(page, *at.partition("#")[::2])]


def leads(page: pathlib.Path, name: str, anchor: str) -> bool:
  """Whether there is a file, and in it a heading."""
  target = page.parent / name if name else page
  if not target.exists():
    return False
  return not anchor or anchor in anchors(target.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
  assert broken(page, page.read_text()) == []


def test_a_broken_link_is_found():
  page = ROOT / "docs/methods.md"
  text = "[a](latency.md#no-such) [b](#gdas) [c](none.md) [d](https://a.b)"
  assert broken(page, text) == ["latency.md#no-such", "none.md"]


def test_headings_have_different_anchors():
  for page in PAGES:
    names = HEADING.findall(prose(page.read_text()))
    assert len(anchors(page.read_text())) == len(names), page.name


def test_what_the_code_cites_is_there():
  files = [
    file
    for folder in ("hwnas_jax", "configs", "experiments", "tests")
    for file in ROOT.glob(f"{folder}/**/*.py")
  ]
  cited = {found for f in files for found in CITED.findall(f.read_text())}
  wrong = [at for at in cited if not leads(ROOT / "docs/methods.md", *at)]
  assert wrong == []


def test_the_glossary_is_in_order_and_says_each_word_once():
  words = HEADING.findall((ROOT / "docs/glossary.md").read_text())[1:]
  assert words == sorted(set(words), key=str.lower)


@pytest.mark.parametrize("kind", ["nothing", "clone", "package"])
def test_the_notebook_installs_unless_the_package_is_there(
  kind, tmp_path, monkeypatch
):
  """A clone's folder of the same name is found as a namespace package."""
  folder = tmp_path / "hwnas_jax"
  if kind != "nothing":
    (folder / "hwnas_jax").mkdir(parents=True)
  if kind == "package":
    (folder / "__init__.py").write_text("")
  notebook = json.loads(
    (ROOT / "experiments/notebooks/colab.ipynb").read_text()
  )
  cell = next(c for c in notebook["cells"] if c["cell_type"] == "code")
  source = "".join(cell["source"]).replace(
    'REPOSITORY = ""', 'REPOSITORY = "x"'
  )
  ran = []
  monkeypatch.setattr(subprocess, "run", lambda args, check: ran.append(args))
  monkeypatch.setattr(sys, "path", [str(tmp_path)])
  monkeypatch.setattr(sys, "meta_path", [importlib.machinery.PathFinder])
  monkeypatch.delitem(sys.modules, "hwnas_jax", raising=False)
  exec(source, {})
  assert len(ran) == (kind != "package")


def test_every_method_has_a_section_with_its_command():
  text = (ROOT / "docs/methods.md").read_text()
  configs = sorted(ROOT.glob("configs/methods/*.py"))
  assert configs
  for config in configs:
    assert f"--config=methods/{config.stem} " in text
