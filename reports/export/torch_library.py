"""What an exported PyTorch file brings along: text of classes and functions, each only where it is used."""

from __future__ import annotations

from collections.abc import Mapping

ON_DEMAND: Mapping[str, str] = {
    "Elementwise": '''
class Elementwise(nn.Module):
    """A function of every element."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.function(z)
''',
    "LearnedSwish": '''
class LearnedSwish(nn.Module):
    """z * sigmoid(beta * z), beta trained."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(()))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z * torch.sigmoid(self.beta * z)
''',
    "SwiGLU": '''
class SwiGLU(nn.Module):
    """SiLU of the first half of the features times the second half."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        first, second = z.chunk(2, dim=-1)
        return nn.functional.silu(first) * second
''',
    "ShiftedRMSNorm": '''
class ShiftedRMSNorm(nn.Module):
    """nn.RMSNorm with a shift."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm, self.shift = nn.RMSNorm(features), nn.Parameter(torch.zeros(features))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.norm(z) + self.shift
''',
    "HiddenLinear": '''
class HiddenLinear(nn.Linear):
    """A linear map whose weight is read as symmetric where it is square, and loses some entries in training.

    One mask holds for all items of a step; what is kept is scaled up so that its mean stays.
    """

    def __init__(self, n_in: int, n_out: int, bias: bool, symmetric: bool, dropped: float) -> None:
        super().__init__(n_in, n_out, bias=bias)
        self.symmetric, self.dropped = symmetric, dropped

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = self.weight
        if self.symmetric and w.shape[0] == w.shape[1]:
            w = (w + w.T) / 2
        w = nn.functional.dropout(w, self.dropped, self.training)
        return nn.functional.linear(x, w, self.bias)
''',
    "Skip": '''
class Skip(nn.Module):
    """A layer whose input is added to its output."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layer(x)
''',
    "truncated_normal_": '''
def truncated_normal_(w: torch.Tensor, variance: float) -> None:
    """A normal cut at two standard deviations that has this variance after the cut."""
    sd = math.sqrt(variance) / 0.87962566103423978
    nn.init.trunc_normal_(w, std=sd, a=-2 * sd, b=2 * sd)
''',
    "funnel": '''
def funnel(width: int, depth: int, n_outputs: int) -> list[int]:
    """Widths that shrink by equal ratios from `width` to about twice the outputs."""
    end = min(width, max(2 * n_outputs, 2))
    return [round(width * (end / width) ** (i / max(1, depth - 1))) for i in range(depth)]
''',
    "as_many_parameters": '''
def as_many_parameters(widths: list[int], n_inputs: int, n_outputs: int) -> list[int]:
    """Widths of layers with two sums a unit that leave the number of parameters nearest to what it was."""

    def count(hidden: list[int], sums: int) -> int:
        sizes = [n_inputs, *hidden]
        inner = sum((a + 1) * b for a, b in zip(sizes, hidden, strict=False))
        return sums * inner + (sizes[-1] + 1) * n_outputs

    target, widest = count(widths, 1), max(widths)
    shrunk = [[max(1, round(w * to / widest)) for w in widths] for to in range(1, widest + 1)]
    return min(shrunk, key=lambda hidden: abs(count(hidden, 2) - target))
''',
    "Muon": '''
class Muon(torch.optim.Optimizer):
    """The momentum of groups marked `orthogonal`, made orthogonal; AdamW for all others.

    torch's Muon (2.14, nesterov) without its rounding to bfloat16; `matched`: adjust_lr_fn="match_rms_adamw".
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        momentum: float,
        matched: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        usual = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "orthogonal": False}
        super().__init__(groups, usual)
        self.matched = matched

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.mul_(1 - group["lr"] * group["weight_decay"])
                (self.turned if group["orthogonal"] else self.adam)(p, group, self.state[p])

    def turned(self, p: nn.Parameter, group: dict[str, Any], state: dict[str, Any]) -> None:
        velocity = state.setdefault("velocity", torch.zeros_like(p))
        velocity.lerp_(p.grad, 1 - group["momentum"])
        ahead = orthogonal(torch.lerp(p.grad, velocity, group["momentum"]).flatten(1))
        a, b = ahead.shape
        size = 0.2 * math.sqrt(max(a, b)) if self.matched else math.sqrt(max(1, a / b))
        p.sub_(ahead.view_as(p), alpha=group["lr"] * size)

    def adam(self, p: nn.Parameter, group: dict[str, Any], state: dict[str, Any]) -> None:
        state["step"] = step = state.get("step", 0) + 1
        mean = state.setdefault("mean", torch.zeros_like(p)).lerp_(p.grad, 1 - 0.9)
        square = state.setdefault("square", torch.zeros_like(p)).lerp_(p.grad.square(), 1 - 0.999)
        below = (square / (1 - 0.999**step)).sqrt_().add_(1e-8)
        p.addcdiv_(mean, below, value=-group["lr"] / (1 - 0.9**step))


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix with singular values near 1: five Newton-Schulz iterations, with torch's coefficients."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 2.0315 * gram @ gram @ x - 4.7750 * gram @ x + 3.4445 * x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def muon_groups(model: nn.Module, spared: bool) -> list[dict[str, Any]]:
    """The matrices between the first weight and the last, the other weights, and all else.

    `spared`: all else does not decay.
    """
    weights = [p for p in model.parameters() if p.ndim > 1]
    if len(weights) < 3:
        raise ValueError("Muon needs a matrix between the first weight and the last: a depth of 2 or more")
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": weights[1:-1], "orthogonal": True}, {"params": [weights[0], weights[-1]]}]
    rest = {"params": others, "weight_decay": 0.0} if spared else {"params": others}
    return [*groups, rest] if others else groups
''',
    "warmed_up": '''
def warmed_up(step: int, warmup: int, total: int, after: Callable[[int, int], float]) -> float:
    """A straight line from a tenth of where `after` begins, then `after` over the other steps."""
    if step < warmup:
        return after(0, total - warmup) * (0.1 + 0.9 * step / warmup)
    return after(step - warmup, total - warmup)
''',
    "cosine_restarts": '''
def cosine_restarts(step: int, total: int) -> float:
    """Three falls of a cosine, each twice as long as the one before."""
    first = math.ceil(total / 7)
    cycle = math.floor(math.log2(step // first + 1))
    begin, length = first * (2**cycle - 1), first * 2**cycle
    return (1 + math.cos(math.pi * (step - begin) / length)) / 2
''',
}
"""Name -> text. A part that needs another comes after it."""
