"""One regime as plain PyTorch: what the template of its functions is filled with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from reports.defaults.provenance import comment_text, literal, noted
from reports.defaults.schema import Defaults, Recipe
from reports.export import torch_levels as parts
from search_spaces.dropout import DROPOUT
from search_spaces.normalizations import NORMALIZATION
from search_spaces.space import decay_kind

Lines = list[str]


def regime_text(render: Callable[..., str], defaults: Defaults, recipe: Recipe, name: str, own: bool) -> str:
    """The functions of one regime, whose names end with `name`; `own`: without a model.

    `render` fills the regime's template with what it is given by name.
    """
    s = recipe.setting
    shape = "your own network" if own else f"{s.depth} hidden layers of width {s.width}"

    def comments(what: str, indent: int) -> str:
        return "".join(f"{line}\n" for line in noted(defaults, recipe, what, indent))

    return render(
        name=name,
        title=f"{comment_text(recipe.regime)}: {shape}",
        regime=literal(recipe.regime),
        own_network=own,
        noted=comments,
        **({"network_notes": _network_notes(defaults, recipe)} if own else _model(recipe)),
        **_optimizer(recipe),
        schedule_title=comment_text(recipe.levels["schedule"]),
        scheduler=_scheduler(recipe),
        update=_update(recipe, partial(noted, defaults, recipe)),
        scaling=parts.SCALINGS[recipe.levels["input_scaling"]],
    )


def entry_lines(defaults: Defaults, recipe: Recipe, name: str, own: bool) -> Lines:
    """The regime's entry in the file's table: its functions, and the numbers that `fit` needs."""
    s, levels = recipe.setting, recipe.levels
    spelled = {number: repr(value) for number, value in recipe.numbers.items()}
    spelled["stop_patience"] = str(math.floor(recipe.numbers.get("stop_patience", 0)))
    says = partial(noted, defaults, recipe, indent=8)
    functions = (
        ("optimizer", "scheduler", "update", "measure")
        if own
        else (*("model", "optimizer", "scheduler", "update", "measure"),)
    )
    return [
        *(f"        {function}={function}_for_{name}," for function in functions),
        f"        depth={s.depth},",
        f"        width={s.width},",
        *says("train_size"),
        f"        items={_items(defaults, recipe)},",
        *says("augmentation"),
        *says("batch_size"),
        f"        batch_size={s.batch_size},",
        *says("steps"),
        f"        total_steps={s.steps},",
        *says("evaluations"),
        f"        looks={s.evaluations},",
        *says("early_stopping"),
        f"        patience={parts.STOPS[levels['early_stopping']].format(**spelled)},",
        *says("label_smoothing"),
        f"        smoothing={parts.SMOOTHINGS[levels['label_smoothing']].format(**spelled)},",
    ]


def _items(defaults: Defaults, recipe: Recipe) -> tuple[int, int]:
    """Training items in the study: the least and the most."""
    ends = [int(part) for part in defaults.scope.n_train.split("-") if part.isdecimal()]
    return (min(ends), max(ends)) if ends else (recipe.setting.train_size, recipe.setting.train_size)


def _network_notes(defaults: Defaults, recipe: Recipe) -> Lines:
    """What the study says of the network itself, for a network of one's own to follow."""
    names = (*parts.MODEL_FACTORS, "weight_constraint", "depth", "width", "funnel", "residual", "network")
    notes = [line for name in names for line in noted(defaults, recipe, name, indent=0)]
    return ["# Of the network itself the study says:", *notes] if notes else []


def _model(recipe: Recipe) -> dict[str, Any]:
    """What the template of a perceptron needs."""
    s, levels, numbers = recipe.setting, recipe.levels, recipe.numbers
    norm = NORMALIZATION.level(levels["normalization"]).build
    gated = levels["activation"] == "swiglu"
    dropout, rate = DROPOUT.level(levels["dropout"]).build, numbers.get("dropout_rate", 0.0)
    drop = f"{parts.DROPOUTS[levels['dropout']]}({rate!r})"
    first_gain, gain = parts.gain(levels, numbers)
    sums = "2 * units" if gated else "units"
    activation = [f"layer.append({parts.ACTIVATIONS[levels['activation']](numbers)})"]
    written = parts.NORMALIZATIONS[levels["normalization"]]
    normalization = (
        []
        if written is None
        else [
            "layer.append("
            + written.format(
                features="units" if norm.after else sums, momentum=repr(numbers.get("norm_momentum", 0.1))
            )
            + ")"
        ]
    )
    around = [("activation", activation), ("normalization", normalization)]
    dropped: Lines = []
    if dropout.hidden == "all":
        dropped = [f"layer.append({drop})"]
    elif dropout.hidden:
        dropped = [f"if i >= depth - {dropout.hidden}:", f"    layer.append({drop})"]
    inside = [*(around if norm.after else reversed(around))]
    if not dropout.weights:
        inside.append(("dropout", dropped))
    return {
        "gated": gated,
        "sums": sums,
        "drawn": parts.INITIALIZERS[levels["initializer"]].replace("BATCH_SIZE", str(s.batch_size)),
        "bias": _bias(levels),
        "entry": (["nn.BatchNorm1d(n_inputs)"] if levels["input_scaling"] == "batch_norm" else [])
        + ([drop] if dropout.inputs else []),
        "first_gain": repr(first_gain),
        "gain": repr(gain),
        "funnel": s.funnel,
        "residual": s.residual,
        "biased": norm.biased,
        "symmetric": levels["weight_constraint"] == "symmetric",
        "dropped_weights": repr(rate) if dropout.weights else "",
        "inside": inside,
    }


def _bias(levels: Mapping[str, str]) -> str:
    drawn = levels["bias"] == "uniform" or (
        levels["bias"] == "as_initializer" and levels["initializer"] == "torch_default"
    )
    if drawn:
        return "nn.init.uniform_(linear.bias, -(linear.in_features**-0.5), linear.in_features**-0.5)"
    return "nn.init.zeros_(linear.bias)"


def _optimizer(recipe: Recipe) -> dict[str, Any]:
    levels, numbers = recipe.levels, recipe.numbers
    level, kind = levels["optimizer"], decay_kind(levels)
    if numbers.get("momentum") == 0 and level == "nesterov":
        level = "sgd"  # torch's Nesterov refuses a momentum of 0
    by_torch = _decays_in_torch(level, kind)
    scoped = by_torch and levels["decay_scope"] == "weights"
    row = parts.DECOUPLED[level] if by_torch and kind == "decoupled" else parts.OPTIMIZERS[level]
    decay = f", weight_decay={numbers['weight_decay']!r}" if by_torch else ""
    spelled = {number: repr(value) for number, value in numbers.items()} | {"learning_rate": "learning_rate"}
    groups: Lines = []
    if level in parts.MUONS:
        groups = [f"groups = muon_groups(model, spared={scoped})"]
    elif scoped:
        groups = [
            "groups = [",
            '    {"params": [p for p in model.parameters() if p.ndim > 1]},',
            '    {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},',
            "]",
        ]
    return {
        "optimizer_title": comment_text(levels["optimizer"]),
        "learning_rate": repr(numbers["learning_rate"]),
        "scoped": scoped,
        "groups": groups,
        "optimizer": row.format(groups="groups" if groups else "model.parameters()", decay=decay, **spelled),
    }


def _decays_in_torch(optimizer: str, kind: str) -> bool:
    """Whether torch's own weight_decay does what the recipe asks for."""
    if kind == "decoupled":
        return optimizer in parts.DECOUPLED
    return kind == "coupled" and optimizer not in parts.COUPLES_NOTHING


def _scheduler(recipe: Recipe) -> Lines:
    levels, numbers = recipe.levels, recipe.numbers
    level = levels["schedule"]
    if level == "performance":
        patience, factor = math.floor(numbers["plateau_patience"]), numbers["plateau_factor"]
        return [
            "    return torch.optim.lr_scheduler.ReduceLROnPlateau(",
            f"        optimizer, factor={factor!r}, patience={patience}",
            "    )",
        ]
    if level in parts.ONE_CYCLES:
        cycles = level != "one_cycle_fixed_momentum" and levels["optimizer"] in parts.CYCLES_MOMENTUM
        more = parts.ONE_CYCLES[level] + ("" if cycles else ", cycle_momentum=False")
        return [
            '    peak = [group["lr"] for group in optimizer.param_groups]',
            "    return torch.optim.lr_scheduler.OneCycleLR(",
            f"        optimizer, max_lr=peak, total_steps=total_steps{more}",
            "    )",
        ]
    spelled = {number: repr(value) for number, value in numbers.items()}
    share = parts.SCHEDULES[level].format(**spelled)
    course = "share"
    if levels["warmup"] == "linear":
        warmup = f"round({numbers['warmup_fraction']!r} * total_steps)"
        course = f"lambda step: warmed_up(step, {warmup}, total_steps, share)"
    return [
        "",
        "    def share(step: int, total: int = total_steps) -> float:",
        f"        return {share}",
        "",
        f"    return torch.optim.lr_scheduler.LambdaLR(optimizer, {course})",
    ]


def _update(recipe: Recipe, says: partial[Lines]) -> Lines:
    """Penalty, clipping, decay, step, constraint: in the order in which the study did them."""
    levels, numbers, kind = recipe.levels, recipe.numbers, decay_kind(recipe.levels)
    pulled = "p.ndim > 1" if levels["decay_scope"] == "weights" else "True"
    by_torch = _decays_in_torch(levels["optimizer"], kind)
    lines: Lines = []
    if kind == "l1":
        lines += [*says("weight_decay"), *says("decay_scope")]
        lines += _pull(pulled, f"p.grad.add_(p.sign(), alpha={numbers['l1_strength']!r})")
    lines += says("clipping")
    lines += parts.CLIPPINGS[levels["clipping"]](numbers)
    if kind == "coupled" and not by_torch:
        lines += [*says("weight_decay"), *says("decay_scope")]
        lines += _pull(pulled, f"p.grad.add_(p, alpha={numbers['weight_decay']!r})")
    if kind == "decoupled" and not by_torch:
        lines += [*says("weight_decay"), *says("decay_scope")]
        rate = 'optimizer.param_groups[0]["lr"]'
        lines += _pull(pulled, f"p.mul_(1 - {rate} * {numbers['weight_decay']!r})")
    lines.append("    optimizer.step()")
    lines += says("weight_constraint") if levels["weight_constraint"] != "symmetric" else []
    if levels["weight_constraint"] == "max_norm":
        radius = repr(numbers["max_norm_radius"])
        lines += _pull(
            "p.ndim > 1",
            f"p.flatten(1).mul_(({radius} / p.flatten(1).norm(dim=1, keepdim=True)).clamp(max=1.0))",
        )
    return lines


def _pull(which: str, what: str) -> Lines:
    wanted = "p.grad is not None" if "p.grad" in what else ""
    tests = " and ".join(test for test in (which if which != "True" else "", wanted) if test)
    return [
        "    with torch.no_grad():",
        "        for p in model.parameters():",
        *([f"            if {tests}:", f"                {what}"] if tests else [f"            {what}"]),
    ]
