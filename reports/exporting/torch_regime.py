"""One regime as plain PyTorch: its model, optimizer, scheduler, update and scaling, line by line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping

from reports.exporting import torch_parts as parts
from reports.exporting.saying import noted, plain_text
from reports.recommended import Defaults, Recipe
from search_spaces.normalizations import NORMALIZATION
from search_spaces.space import decay_kind

Lines = list[str]


def regime_lines(defaults: Defaults, recipe: Recipe, name: str) -> Lines:
    """Everything of one regime whose recipe can be written, under names that begin with `name`."""
    s, levels, numbers = recipe.setting, recipe.levels, recipe.numbers
    patience = math.floor(numbers["stop_patience"]) if levels["early_stopping"] == "patience" else None
    return [
        f"# Regime {plain_text(recipe.regime)}: {s.depth} hidden layers of width {s.width}",
        "",
        "",
        *_model(defaults, recipe, name),
        "",
        "",
        *_optimizer(defaults, recipe, name),
        "",
        "",
        *_scheduler(defaults, recipe, name),
        "",
        "",
        *_update(defaults, recipe, name),
        "",
        "",
        f"def {name}_measure(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:",
        '    """What inputs are scaled by, and of a regression the targets, from the training items."""',
        *noted(defaults, recipe, "input_scaling"),
        *(f"    {line.replace('self.', 'model.')}" for line in parts.SCALINGS[levels["input_scaling"]]),
        "    if y.is_floating_point():",
        "        sd = y.std(correction=0)",
        "        model.target_mean, model.target_sd = y.mean(), sd if sd > 0 else torch.ones_like(sd)",
        "",
        "",
        f"{name.upper()} = Regime(",
        f"    model={name}_model,",
        f"    optimizer={name}_optimizer,",
        f"    scheduler={name}_scheduler,",
        f"    update={name}_update,",
        f"    measure={name}_measure,",
        *noted(defaults, recipe, "batch_size"),
        f"    batch_size={s.batch_size},",
        *noted(defaults, recipe, "steps"),
        f"    total_steps={s.steps},",
        f"    looks={s.evaluations},",
        *noted(defaults, recipe, "early_stopping"),
        f"    patience={'math.inf' if patience is None else patience},",
        *noted(defaults, recipe, "label_smoothing"),
        f"    smoothing={numbers.get('smoothing', 0.0)!r},",
        ")",
        "",
        "",
    ]


def _model(defaults: Defaults, recipe: Recipe, name: str) -> Lines:
    s, levels, numbers = recipe.setting, recipe.levels, recipe.numbers
    norm = NORMALIZATION.level(levels["normalization"]).build
    gated = levels["activation"] == "swiglu"
    of_inputs, of_layers = parts.dropout_rates(levels["dropout"], numbers, s.depth)
    drop = parts.DROPOUTS[levels["dropout"]]
    first_gain, gain = parts.gain(levels, numbers)
    widths = f"funnel({s.width}, {s.depth}, n_outputs)" if s.funnel else f"[{s.width}] * {s.depth}"
    if gated:
        widths = f"as_many_parameters({widths}, n_inputs, n_outputs)"
    entry = ["nn.BatchNorm1d(n_inputs)"] if levels["input_scaling"] == "batch_norm" else []
    entry += [f"{drop}({of_inputs!r})"] if of_inputs else []
    wide = "2 * width" if gated else "width"
    drawn = parts.INITIALIZERS[levels["initializer"]].replace("BATCH_SIZE", str(s.batch_size))
    counted = any(of_layers) and not all(of_layers)
    lines = [
        f"def {name}_model(n_inputs: int, n_outputs: int) -> nn.Module:",
        f'    """{s.depth} hidden layers of width {s.width} and a linear output."""',
        "",
        f"    def start(linear: nn.Linear, gain: float{', sums: int = 1' if gated else ''}) -> nn.Linear:",
        "        with torch.no_grad():",
        f"            for w in {'linear.weight.chunk(sums)' if gated else '[linear.weight]'}:",
        *noted(defaults, recipe, "initializer", indent=16),
        f"                {drawn}",
        "                w.mul_(gain)",
        "            if linear.bias is not None:",
        *noted(defaults, recipe, "bias", indent=16),
        f"                {_bias(levels)}",
        "        return linear",
        "",
        f"    layers: list[nn.Module] = [{', '.join(entry)}]",
        f"    fan_in, gain = n_inputs, {first_gain!r}",
        *noted(defaults, recipe, "depth"),
        *noted(defaults, recipe, "width"),
        f"    for i, width in enumerate({widths}):" if counted else f"    for width in {widths}:",
        f"        linear = nn.Linear(fan_in, {wide}{'' if norm.biased else ', bias=False'})",
        f"        layer = [start(linear, gain{', sums=2' if gated else ''})]",
    ]
    activation = [
        *noted(defaults, recipe, "activation", indent=8),
        f"        layer.append({parts.ACTIVATIONS[levels['activation']](numbers)})",
    ]
    written = parts.NORMALIZATIONS[levels["normalization"]]
    normalization = noted(defaults, recipe, "normalization", indent=8)
    if written is not None:
        features = "width" if norm.after else wide
        momentum = repr(numbers.get("norm_momentum", 0.1))
        normalization.append(f"        layer.append({written.format(features=features, momentum=momentum)})")
    lines += [*activation, *normalization] if norm.after else [*normalization, *activation]
    lines += noted(defaults, recipe, "dropout", indent=8)
    if any(of_layers):
        lines += [f"        if i >= {of_layers.count(0.0)}:"] if counted else []
        lines.append(f"        {'    ' if counted else ''}layer.append({drop}({of_layers[-1]!r}))")
    if s.residual:
        lines += [
            "        block = nn.Sequential(*layer)",
            "        layers.append(Skip(block) if fan_in == width else block)",
        ]
    else:
        lines.append("        layers += layer")
    return [
        *lines,
        f"        fan_in, gain = width, {gain!r}",
        "    layers.append(start(nn.Linear(fan_in, n_outputs), gain))",
        f"    return ScaledNetwork(nn.Sequential(*layers), n_inputs, {json.dumps(recipe.regime)})",
    ]


def _bias(levels: Mapping[str, str]) -> str:
    drawn = levels["bias"] == "uniform" or (
        levels["bias"] == "as_initializer" and levels["initializer"] == "torch_default"
    )
    if drawn:
        return "nn.init.uniform_(linear.bias, -(linear.in_features**-0.5), linear.in_features**-0.5)"
    return "nn.init.zeros_(linear.bias)"


def _optimizer(defaults: Defaults, recipe: Recipe, name: str) -> Lines:
    levels, numbers = recipe.levels, recipe.numbers
    level, kind = levels["optimizer"], decay_kind(levels)
    if numbers.get("momentum") == 0:
        level = "sgd"  # torch's Nesterov refuses a momentum of 0
    by_torch = _decays_in_torch(level, kind)
    scoped = by_torch and levels["decay_scope"] == "weights"
    row = parts.DECOUPLED[level] if by_torch and kind == "decoupled" else parts.OPTIMIZERS[level]
    decay = f", weight_decay={numbers['weight_decay']!r}" if by_torch else ""
    spelled = {number: repr(value) for number, value in numbers.items()}
    call = row.format(groups="groups" if scoped else "model.parameters()", decay=decay, **spelled)
    lines = [
        f"def {name}_optimizer(model: nn.Module) -> torch.optim.Optimizer:",
        f'    """{plain_text(levels["optimizer"])}."""',
    ]
    if scoped:
        lines += [
            *noted(defaults, recipe, "decay_scope"),
            "    groups = [",
            '        {"params": [p for p in model.parameters() if p.ndim > 1]},',
            '        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},',
            "    ]",
        ]
    lines += noted(defaults, recipe, "optimizer") + noted(defaults, recipe, "weight_decay")
    return [*lines, f"    return {call}"]


def _decays_in_torch(optimizer: str, kind: str) -> bool:
    """Whether torch's own weight_decay does what the recipe asks for."""
    if kind == "decoupled":
        return optimizer in parts.DECOUPLED
    return kind == "coupled" and optimizer not in parts.COUPLES_NOTHING


def _scheduler(defaults: Defaults, recipe: Recipe, name: str) -> Lines:
    levels, numbers = recipe.levels, recipe.numbers
    level = levels["schedule"]
    lines = [
        f"def {name}_scheduler(optimizer: torch.optim.Optimizer, total_steps: int) -> Any:",
        f'    """{plain_text(level)}."""',
        *noted(defaults, recipe, "schedule"),
        *noted(defaults, recipe, "warmup"),
    ]
    if level == "performance":
        patience, factor = math.floor(numbers["plateau_patience"]), numbers["plateau_factor"]
        return [
            *lines,
            "    return torch.optim.lr_scheduler.ReduceLROnPlateau(",
            f"        optimizer, factor={factor!r}, patience={patience}",
            "    )",
        ]
    if level in parts.ONE_CYCLES:
        cycles = level != "one_cycle_fixed_momentum" and levels["optimizer"] in parts.CYCLES_MOMENTUM
        told = parts.ONE_CYCLES[level] + ("" if cycles else ", cycle_momentum=False")
        return [
            *lines,
            "    return torch.optim.lr_scheduler.OneCycleLR(",
            f"        optimizer, max_lr={numbers['learning_rate']!r}, total_steps=total_steps{told}",
            "    )",
        ]
    spelled = {number: repr(value) for number, value in numbers.items()}
    share = parts.SCHEDULES[level].format(**spelled)
    lines += [
        "",
        "    def share(step: int, total: int = total_steps) -> float:",
        f"        return {share}",
        "",
    ]
    if levels["warmup"] == "linear":
        warmup = f"round({numbers['warmup_fraction']!r} * total_steps)"
        course = f"lambda step: warmed_up(step, {warmup}, total_steps, share)"
    else:
        course = "share"
    return [*lines, f"    return torch.optim.lr_scheduler.LambdaLR(optimizer, {course})"]


def _update(defaults: Defaults, recipe: Recipe, name: str) -> Lines:
    """Penalty, clipping, decay, step, constraint: in the order in which the study did them."""
    levels, numbers, kind = recipe.levels, recipe.numbers, decay_kind(recipe.levels)
    pulled = "p.ndim > 1" if levels["decay_scope"] == "weights" else "True"
    by_torch = _decays_in_torch(levels["optimizer"], kind)
    lines = [
        f"def {name}_update(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:",
        '    """One step from the gradients that are there."""',
    ]
    if kind == "l1":
        lines += noted(defaults, recipe, "weight_decay")
        lines += _pull(pulled, f"p.grad.add_(p.sign(), alpha={numbers['l1_strength']!r})")
    lines += noted(defaults, recipe, "clipping")
    lines += CLIPPINGS[levels["clipping"]](numbers)
    if kind == "coupled" and not by_torch:
        lines += noted(defaults, recipe, "weight_decay")
        lines += _pull(pulled, f"p.grad.add_(p, alpha={numbers['weight_decay']!r})")
    if kind == "decoupled" and not by_torch:
        lines += noted(defaults, recipe, "weight_decay")
        rate = 'optimizer.param_groups[0]["lr"]'
        lines += _pull(pulled, f"p.mul_(1 - {rate} * {numbers['weight_decay']!r})")
    lines.append("    optimizer.step()")
    if levels["weight_constraint"] == "max_norm":
        lines += noted(defaults, recipe, "weight_constraint")
        radius = repr(numbers["max_norm_radius"])
        lines += _pull(
            "p.ndim > 1",
            f"p.mul_(({radius} / torch.linalg.vector_norm(p, dim=1, keepdim=True)).clamp(max=1.0))",
        )
    return lines


def _pull(which: str, what: str) -> Lines:
    return [
        "    with torch.no_grad():",
        "        for p in model.parameters():",
        f"            if {which}:",
        f"                {what}",
    ]


CLIPPINGS: Mapping[str, Callable[[parts.Numbers], Lines]] = {
    "none": lambda _: [],
    "norm": lambda n: [
        f"    torch.nn.utils.clip_grad_norm_(model.parameters(), {n['clip_norm']!r})",
    ],
    "value": lambda n: [
        f"    torch.nn.utils.clip_grad_value_(model.parameters(), {n['clip_value']!r})",
    ],
    "shrink": lambda n: [
        "    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])",
        f"    if norm > {n['clip_norm']!r}:",
        "        for p in model.parameters():",
        f"            p.grad.mul_({n['shrink_factor']!r})",
    ],
}
