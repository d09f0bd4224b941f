"""The supernet search step in eager PyTorch, the baseline of the benchmarks.

One module per candidate per edge, convolutions by `groups=`, batch
normalisation in training mode: what a user of PyTorch would write.

  python torch_supernet.py --kind simplex_one_level --cells 3 --ops 3
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]
Step = Callable[[Batch, Batch], Tensor]

OPS = {
  3: ("avg_pool_3x3", "skip_connect", "sep_conv_3x3"),
  5: (
    "avg_pool_3x3",
    "max_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
  ),
  8: (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
  ),
}


def _norm(channels: int) -> nn.Module:
  return nn.BatchNorm2d(channels, affine=False)


def _conv1x1(c_in: int, c_out: int) -> nn.Module:
  conv = nn.Conv2d(c_in, c_out, 1, bias=False)
  return nn.Sequential(nn.ReLU(), conv, _norm(c_out))


def _depthwise(c: int, kernel: int, stride: int, dilation: int) -> nn.Module:
  depthwise = nn.Conv2d(
    c,
    c,
    kernel,
    stride,
    padding=dilation * (kernel - 1) // 2,
    dilation=dilation,
    groups=c,
    bias=False,
  )
  pointwise = nn.Conv2d(c, c, 1, bias=False)
  return nn.Sequential(nn.ReLU(), depthwise, pointwise, _norm(c))


class _HalvingSkip(nn.Module):
  def __init__(self, c_in: int, c_out: int):
    super().__init__()
    self.even = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
    self.odd = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
    self.norm = _norm(c_out)

  def forward(self, x: Tensor) -> Tensor:
    x = F.relu(x)
    return self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], 1))


def _make_op(name: str, c: int, stride: int) -> nn.Module:
  if name == "skip_connect":
    return nn.Identity() if stride == 1 else _HalvingSkip(c, c)
  if name == "max_pool_3x3":
    return nn.Sequential(nn.MaxPool2d(3, stride, padding=1), _norm(c))
  if name == "avg_pool_3x3":
    pool = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
    return nn.Sequential(pool, _norm(c))
  family, kernel = name[:8], int(name[-1])
  if family == "sep_conv":
    first = _depthwise(c, kernel, stride, dilation=1)
    return nn.Sequential(first, _depthwise(c, kernel, 1, dilation=1))
  if family == "dil_conv":
    return _depthwise(c, kernel, stride, dilation=2)
  raise ValueError(f"unknown candidate {name!r}; known: {OPS[8]}")


class _Edge(nn.Module):
  def __init__(self, ops: Sequence[str], c: int, stride: int):
    super().__init__()
    # `none` adds exactly zero, so it is left out of the sum.
    self.kept = [i for i, name in enumerate(ops) if name != "none"]
    self.ops = nn.ModuleList(_make_op(ops[i], c, stride) for i in self.kept)

  def forward(self, x: Tensor, mix: Sequence[Tensor]) -> Tensor:
    kept = zip(self.kept, self.ops, strict=True)
    return sum(mix[i] * op(x) for i, op in kept)


class _Cell(nn.Module):
  def __init__(
    self,
    ops: Sequence[str],
    num_nodes: int,
    inputs: tuple[int, int],
    c: int,
    after_reduction: bool,
    reduction: bool,
  ):
    super().__init__()
    halve = _HalvingSkip if after_reduction else _conv1x1
    self.reduction = reduction
    self.before0 = halve(inputs[0], c)
    self.before1 = _conv1x1(inputs[1], c)
    self.num_nodes = num_nodes
    self.edges = nn.ModuleList(
      _Edge(ops, c, 2 if reduction and source < 2 else 1)
      for node in range(num_nodes)
      for source in range(2 + node)
    )

  def forward(
    self, s0: Tensor, s1: Tensor, mix: Sequence[Sequence[Tensor]]
  ) -> Tensor:
    states = [self.before0(s0), self.before1(s1)]
    edges = zip(self.edges, mix, strict=True)
    for _ in range(self.num_nodes):
      # One edge from every state so far; the next node takes those after.
      incoming = zip(list(states), edges, strict=False)
      states.append(sum(edge(s, weights) for s, (edge, weights) in incoming))
    return torch.cat(states[2:], dim=1)


def _split_mix(mix: Tensor) -> list[list[Tensor]]:
  """Turns [E, O] or [B, E, O] weights into factors of NCHW features."""
  if mix.dim() == 3:
    mix = mix.permute(1, 2, 0)[..., None, None, None]
  return [list(edge.unbind()) for edge in mix.unbind()]


class Supernet(nn.Module):
  """The cell supernet with every candidate alive.

  Args:
    num_cells: Cells; those at num_cells // 3 and 2 * num_cells // 3 halve
      the image and double the channels.
    channels: Channels of the first cell; the stem has three times as many.
    num_nodes: Inner nodes of a cell; a cell has E = sum(2 + i) edges.
    ops: Candidate names, O of them.
    in_channels: Image channels.
    num_classes: Outputs of the classifier.
  """

  def __init__(
    self,
    num_cells: int,
    channels: int,
    num_nodes: int = 4,
    ops: Sequence[str] = OPS[8],
    in_channels: int = 3,
    num_classes: int = 10,
  ):
    super().__init__()
    c, c0, c1 = channels, 3 * channels, 3 * channels
    conv = nn.Conv2d(in_channels, c1, 3, padding=1, bias=False)
    self.stem = nn.Sequential(conv, nn.BatchNorm2d(c1))
    self.cells = nn.ModuleList()
    reductions = {num_cells // 3, 2 * num_cells // 3}
    was_reduction = False
    for i in range(num_cells):
      reduction = i in reductions
      c = 2 * c if reduction else c
      cell = _Cell(ops, num_nodes, (c0, c1), c, was_reduction, reduction)
      self.cells.append(cell)
      c0, c1, was_reduction = c1, num_nodes * c, reduction
    self.mix_shape = (num_nodes * (num_nodes + 3) // 2, len(ops))
    self.num_nodes = num_nodes
    self.num_reductions = len(reductions)
    self.classifier = nn.Linear(c1, num_classes)

  def forward(
    self, images: Tensor, mix_normal: Tensor, mix_reduce: Tensor
  ) -> Tensor:
    """Returns logits [B, classes] of `images` [B, C, H, W].

    Args:
      images: NCHW images.
      mix_normal: Weights [E, O], or [B, E, O] for one set per example.
      mix_reduce: The same for the reduction cells.
    """
    normal, reduce = _split_mix(mix_normal), _split_mix(mix_reduce)
    s0 = s1 = self.stem(images)
    for cell in self.cells:
      s0, s1 = s1, cell(s0, s1, reduce if cell.reduction else normal)
    return self.classifier(s1.mean(dim=(2, 3)))


class NodePivots(nn.Module):
  """Logits of the edges into one node, as a function of the penalties.

  Args:
    num_edges: Edges into the node.
    num_ops: Candidates.
    num_pivots: Pivots, each with reference logits.
  """

  def __init__(self, num_edges: int, num_ops: int, num_pivots: int = 5):
    super().__init__()
    self.pivots = nn.Parameter(torch.randn(num_pivots, num_ops))
    self.references = nn.Parameter(torch.randn(num_pivots, num_edges, num_ops))

  def forward(self, penalties: Tensor) -> Tensor:
    """Returns logits [edges, O] at `penalties` [O] on the simplex."""
    distance = (penalties - self.pivots).square().sum(dim=1)
    return torch.einsum("p,peo->eo", F.softmax(-distance, 0), self.references)


def _adam(parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Adam:
  return torch.optim.Adam(
    parameters, lr=lr, betas=(0.5, 0.999), weight_decay=1e-3
  )


def _sgd(net: Supernet) -> torch.optim.SGD:
  return torch.optim.SGD(
    net.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4
  )


def _simplex_step(net: Supernet, kappa: float, temperature: float) -> Step:
  num_edges, num_ops = net.mix_shape
  num_normal = len(net.cells) - net.num_reductions
  normal, reduce = (
    nn.ModuleList(NodePivots(2 + i, num_ops) for i in range(net.num_nodes))
    for _ in range(2)
  )
  optimizer_w = _sgd(net)
  optimizer_a = _adam([*normal.parameters(), *reduce.parameters()], lr=1e-3)
  simplex = torch.distributions.Dirichlet(torch.ones(num_ops))

  def step(train: Batch, valid: Batch) -> Tensor:
    del valid
    images, labels = train
    penalties = simplex.sample()
    logits = [
      torch.cat([node(penalties) for node in nodes])
      for nodes in (normal, reduce)
    ]
    mixes = [
      F.gumbel_softmax(a.expand(len(images), num_edges, num_ops), temperature)
      for a in logits
    ]
    costs = [(F.softmax(a, dim=-1) * penalties).sum() for a in logits]
    cost = num_normal * costs[0] + net.num_reductions * costs[1]
    loss = F.cross_entropy(net(images, *mixes), labels) + kappa * cost
    optimizer_w.zero_grad()
    optimizer_a.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    optimizer_w.step()
    optimizer_a.step()
    return loss.detach()

  return step


def _darts_step(net: Supernet, bilevel: bool) -> Step:
  alphas = [nn.Parameter(1e-3 * torch.randn(net.mix_shape)) for _ in range(2)]
  optimizer_w, optimizer_a = _sgd(net), _adam(alphas, lr=3e-4)

  def loss_fn(batch: Batch, logits: Sequence[Tensor]) -> Tensor:
    images, labels = batch
    mixes = [F.softmax(a, dim=-1) for a in logits]
    return F.cross_entropy(net(images, *mixes), labels)

  def update_weights() -> None:
    nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    optimizer_w.step()

  def one_level(train: Batch, valid: Batch) -> Tensor:
    del valid
    optimizer_w.zero_grad()
    optimizer_a.zero_grad()
    loss = loss_fn(train, alphas)
    loss.backward()
    update_weights()
    optimizer_a.step()
    return loss.detach()

  def bilevel_first_order(train: Batch, valid: Batch) -> Tensor:
    # Each half asks only for the gradients it uses.
    gradients = torch.autograd.grad(loss_fn(valid, alphas), alphas)
    for alpha, gradient in zip(alphas, gradients, strict=True):
      alpha.grad = gradient
    optimizer_a.step()
    optimizer_w.zero_grad()
    loss = loss_fn(train, [a.detach() for a in alphas])
    loss.backward()
    update_weights()
    return loss.detach()

  return bilevel_first_order if bilevel else one_level


KINDS = ("simplex_one_level", "darts_one_level", "darts_bilevel_first_order")


def make_step(
  kind: str, net: Supernet, kappa: float = 50.0, temperature: float = 1.0
) -> Step:
  """Returns `step(train, valid) -> loss`, one full update of `net`.

  Args:
    kind: One of `KINDS`.
    net: The supernet, already in its memory format.
    kappa: Weight of the expected cost, of `simplex_one_level` only.
    temperature: Of the relaxed samples, of `simplex_one_level` only.

  Raises:
    ValueError: If `kind` is unknown.
  """
  if kind not in KINDS:
    raise ValueError(f"unknown step {kind!r}; choose one of {KINDS}")
  if kind == "simplex_one_level":
    return _simplex_step(net, kappa, temperature)
  return _darts_step(net, bilevel=kind == "darts_bilevel_first_order")


def random_batch(
  batch: int, in_channels: int, size: int, memory_format: torch.memory_format
) -> Batch:
  """Returns noise images [B, C, size, size] and labels [B] of 10 classes."""
  images = torch.randn(batch, in_channels, size, size)
  images = images.contiguous(memory_format=memory_format)
  return images, torch.randint(0, 10, (batch,))


def time_step(
  step: Step, train: Batch, valid: Batch, steps: int
) -> list[float]:
  """Returns the seconds of each of `steps` steps after three warm-ups."""
  seconds = []
  for _ in range(3 + steps):
    start = time.perf_counter()
    step(train, valid)
    seconds.append(time.perf_counter() - start)
  return seconds[3:]


def main() -> None:
  """Times one kind of step and prints its seconds and the peak memory."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--kind", choices=KINDS, default=KINDS[0])
  parser.add_argument("--cells", type=int, default=3)
  parser.add_argument("--channels", type=int, default=16)
  parser.add_argument("--batch", type=int, default=64)
  parser.add_argument("--image", type=int, default=28)
  parser.add_argument("--ops", type=int, choices=sorted(OPS), default=3)
  parser.add_argument("--steps", type=int, default=10)
  parser.add_argument("--channels_last", action="store_true")
  args = parser.parse_args()
  torch.set_num_threads(2)
  torch.manual_seed(0)
  in_channels = 1 if args.image == 28 else 3
  layout = (
    torch.channels_last if args.channels_last else torch.contiguous_format
  )
  net = Supernet(
    args.cells, args.channels, ops=OPS[args.ops], in_channels=in_channels
  )
  net.to(memory_format=layout)  # type: ignore[call-overload]
  train, valid = (
    random_batch(args.batch, in_channels, args.image, layout) for _ in range(2)
  )
  step = make_step(args.kind, net)
  seconds = time_step(step, train, valid, args.steps)
  peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  num_parameters = sum(p.numel() for p in net.parameters())
  print(
    f"{args.kind} cells={args.cells} channels={args.channels}"
    f" batch={args.batch} image={args.image} ops={args.ops}"
    f" channels_last={args.channels_last} parameters={num_parameters}"
    f" median_s={statistics.median(seconds):.4f} min_s={min(seconds):.4f}"
    f" peak_rss_mib={peak_mib:.0f}"
  )


if __name__ == "__main__":
  main()
