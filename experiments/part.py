"""`--part=i/n`: a part of a script's work, so that n processes share it."""

import argparse
import re
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")


class Part(NamedTuple):
  """Every `total`-th item from item `number` on."""

  number: int
  total: int

  def of(self, items: Iterable[Item]) -> list[Item]:
    """This part of the items, in their order."""
    return list(items)[self.number :: self.total]

  def __str__(self) -> str:
    """As in names of files."""
    return f"part{self.number}of{self.total}"


def parse(text: str) -> Part:
  """`i/n` with i < n.

  Raises:
    argparse.ArgumentTypeError: it is not that.
  """
  match = re.fullmatch(r"(\d+)/(\d+)", text)
  part = Part(*map(int, match.groups())) if match else Part(0, 0)
  if part.number >= part.total:
    raise argparse.ArgumentTypeError(f"expected i/n with i < n, got {text}")
  return part


def add_flag(parser: argparse.ArgumentParser, what: str) -> None:
  """Adds --part, the whole by default; what: the items."""
  parser.add_argument(
    "--part", type=parse, default="0/1", help=f"of the {what}: i/n"
  )
