"""What an exported PyTorch file brings along: text of classes and functions, each only where it is used."""

from __future__ import annotations

from collections.abc import Mapping

NETWORK = '''
class ScaledNetwork(nn.Module):
    """A network that scales its inputs itself, by the training items that `measure` was shown.

    Of a regression the outputs are in the unit of the targets.
    """

    def __init__(self, layers: nn.Module, n_inputs: int, regime: str) -> None:
        super().__init__()
        self.layers, self.regime = layers, regime
        self.register_buffer("centre", torch.zeros(n_inputs))
        self.register_buffer("unit", torch.ones(n_inputs))
        self.register_buffer("target_mean", torch.zeros(()))
        self.register_buffer("target_sd", torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers((x - self.centre) / self.unit) * self.target_sd + self.target_mean
'''

FIT = '''
def loss_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy of classes; squared error in squared standard deviations of the training targets."""
    outputs = model(x)
    if y.is_floating_point():
        return ((outputs.squeeze(-1) - y) / model.target_sd).square().mean()
    return nn.functional.cross_entropy(outputs, y, label_smoothing=smoothing)


@torch.no_grad()
def error_of(model: nn.Module, x: Array, y: Array) -> float:
    """Share of wrong classes; of a regression the root mean square error in SDs of the training targets."""
    x, y = tensors(x, y)
    model.eval()
    outputs = model(x)
    if y.is_floating_point():
        return float(((outputs.squeeze(-1) - y) / model.target_sd).square().mean().sqrt())
    return float((outputs.argmax(-1) != y).float().mean())


def tensors(x: Array, y: Array) -> tuple[torch.Tensor, torch.Tensor]:
    """Items as float32 [n, features]; targets as class numbers, or float32 where they are floats."""
    items, targets = torch.as_tensor(x), torch.as_tensor(y)
    items = items.reshape(len(items), -1).float()
    return items, targets.float() if targets.is_floating_point() else targets.long()


def fit(
    model: nn.Module,
    x_train: Array,
    y_train: Array,
    x_validation: Array,
    y_validation: Array,
    *,
    regime: str | None = None,
    total_steps: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Trains a model of `build_model` and leaves it as it was at its best look at validation.

    Args:
        model: from `build_model`; what it scales its inputs by is measured here.
        x_train: items [n, ...], not scaled; they are flattened, and scaled value by value (of images the
            study took one centre and unit for each channel).
        y_train: class numbers 0, 1, ... or, of a regression, floats.
        x_validation: items that decide when to stop, and which parameters are kept.
        y_validation: their targets.
        regime: whose recipe is followed; None: of the regime the model was built for.
        total_steps: updates; None: as many as in the study.
        seed: of the order of batches.

    Returns:
        best_step, validation_error, and one (step, validation loss, validation error) for each look.
    """
    recipe = regime_named(model.regime if regime is None else regime)
    steps = recipe.total_steps if total_steps is None else total_steps
    (x, y), (x_held, y_held) = tensors(x_train, y_train), tensors(x_validation, y_validation)
    recipe.measure(model, x, y)
    optimizer = recipe.optimizer(model)
    scheduler = recipe.scheduler(optimizer, steps)
    on_plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
    looks = {round(steps * (i + 1) / recipe.looks) for i in range(recipe.looks)}
    shuffled, size = torch.Generator().manual_seed(seed), min(recipe.batch_size, len(x))
    seen: list[tuple[int, float, float]] = []
    best, kept, waited = (math.inf, math.inf, 0), copy.deepcopy(model.state_dict()), 0
    order = torch.empty(0, dtype=torch.long)
    for step in range(1, steps + 1):
        if len(order) < size:
            order = torch.randperm(len(x), generator=shuffled)
        batch, order = order[:size], order[size:]
        model.train()
        optimizer.zero_grad()
        loss_of(model, x[batch], y[batch], recipe.smoothing).backward()
        recipe.update(model, optimizer)
        if not on_plateau:
            scheduler.step()
        if step not in looks:
            continue
        model.eval()
        with torch.no_grad():
            loss = float(loss_of(model, x_held, y_held))
        if not math.isfinite(loss):
            break  # diverged: the best look so far is kept
        error = error_of(model, x_held, y_held)
        seen.append((step, loss, error))
        if on_plateau:
            scheduler.step(loss)
        if (error, loss) < best[:2]:
            best, kept, waited = (error, loss, step), copy.deepcopy(model.state_dict()), 0
        else:
            waited += 1
            if waited > recipe.patience:
                break
    model.load_state_dict(kept)
    model.eval()
    return {"best_step": best[2], "validation_error": best[0], "looks": seen}
'''

REGIME = '''
class Regime(NamedTuple):
    """What `fit` needs of one regime."""

    model: Callable[[int, int], nn.Module]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    scheduler: Callable[[torch.optim.Optimizer, int], Any]
    update: Callable[[nn.Module, torch.optim.Optimizer], None]
    """One step from gradients that are there."""
    measure: Callable[[nn.Module, torch.Tensor, torch.Tensor], None]
    """How inputs and targets are scaled, from the training items."""
    batch_size: int
    total_steps: int
    looks: int
    """At validation in one training, evenly spaced."""
    patience: float
    """Looks without improvement that are tolerated."""
    smoothing: float
'''

DOORS = '''
def regime_named(regime: str) -> Regime:
    """The regime of that name; ValueError naming all."""
    if regime not in REGIMES:
        raise ValueError(f"unknown regime {regime!r}; known: {', '.join(REGIMES)}")
    return REGIMES[regime]


def build_model(n_inputs: int, n_outputs: int, regime: str = DEFAULT_REGIME) -> nn.Module:
    """The network; `n_outputs` is the number of classes, or 1."""
    return regime_named(regime).model(n_inputs, n_outputs)


def build_optimizer(model: nn.Module, regime: str | None = None) -> torch.optim.Optimizer:
    """Over all parameters of a model of `build_model`; None: of the regime it was built for."""
    name = getattr(model, "regime", DEFAULT_REGIME) if regime is None else regime
    optimizer = regime_named(name).optimizer(model)
    optimizer.regime = name
    return optimizer


def build_scheduler(optimizer: torch.optim.Optimizer, total_steps: int, regime: str | None = None) -> Any:
    """To be stepped after every update; a ReduceLROnPlateau after every look, with the validation loss.

    Without a regime: that of an optimizer of `build_optimizer`.
    """
    name = getattr(optimizer, "regime", DEFAULT_REGIME) if regime is None else regime
    return regime_named(name).scheduler(optimizer, total_steps)
'''

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
