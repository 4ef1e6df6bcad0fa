"""Levels as lines of plain PyTorch: one row for each level that can be written down.

A level without a row here has one in `LEFT_OUT`, with the reason. `tests/reports/test_torch_walk.py` walks
the catalogue and trains every row beside the level that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from search_spaces.activation_gains import activation_gain

Numbers = Mapping[str, float]
"""Number -> value, as in a recipe."""

HE, LECUN, GLOROT = "kaiming", "linear", "xavier"


def _drawn(kind: str, shape: str, mode: str = "fan_in") -> str:
    """A call of torch.nn.init on the weight `w`."""
    if kind == GLOROT:
        return f"nn.init.xavier_{shape}_(w)"
    fan = "" if mode == "fan_in" else ', mode="fan_out"'
    return f'nn.init.kaiming_{shape}_(w{fan}, nonlinearity="{"relu" if kind == HE else "linear"}")'


def _cut(variance: str) -> str:
    """A normal cut at two standard deviations, with the variance after the cut."""
    return f"truncated_normal_(w, variance={variance})"


FAN_IN, FAN_OUT = "w.shape[1]", "w.shape[0]"

INITIALIZERS: Mapping[str, str] = {
    "he_normal": _drawn(HE, "normal"),
    "he_uniform": _drawn(HE, "uniform"),
    "he_truncated": _cut(f"2 / {FAN_IN}"),
    "he_fan_out_normal": _drawn(HE, "normal", "fan_out"),
    "he_fan_out_uniform": _drawn(HE, "uniform", "fan_out"),
    "he_fan_out_truncated": _cut(f"2 / {FAN_OUT}"),
    "he_fan_avg_normal": "nn.init.xavier_normal_(w, gain=math.sqrt(2))",
    "he_fan_avg_uniform": "nn.init.xavier_uniform_(w, gain=math.sqrt(2))",
    "he_fan_avg_truncated": _cut("4 / sum(w.shape)"),
    "glorot_normal": _drawn(GLOROT, "normal"),
    "glorot_uniform": _drawn(GLOROT, "uniform"),
    "glorot_truncated": _cut("2 / sum(w.shape)"),
    "lecun_normal": _drawn(LECUN, "normal"),
    "lecun_uniform": _drawn(LECUN, "uniform"),
    "lecun_truncated": _cut(f"1 / {FAN_IN}"),
    "lecun_fan_out_normal": _drawn(LECUN, "normal", "fan_out"),
    "lecun_fan_out_uniform": _drawn(LECUN, "uniform", "fan_out"),
    "lecun_fan_out_truncated": _cut(f"1 / {FAN_OUT}"),
    "activation_gain_normal": _drawn(LECUN, "normal"),
    "activation_gain_uniform": _drawn(LECUN, "uniform"),
    "orthogonal": "nn.init.orthogonal_(w)",
    "std_normal": "nn.init.normal_(w)",
    "constant_variance": "nn.init.normal_(w, std=0.05)",
    "batch_scaled": "nn.init.normal_(w, std=BATCH_SIZE**-0.25)",
    "constant": "nn.init.constant_(w, 0.005)",
    "zeros": "nn.init.zeros_(w)",
    "torch_default": "nn.init.kaiming_uniform_(w, a=math.sqrt(5))",
}
"""What is done to the weight `w` [fan_out, fan_in] of one linear map."""

FOLLOWS_ACTIVATION = ("activation_gain_normal", "activation_gain_uniform")


def gain(levels: Mapping[str, str], numbers: Numbers) -> tuple[float, float]:
    """What initial weights are multiplied by: of the map that reads the inputs, and of all others."""
    own = numbers.get("init_gain", 1.0)
    follows = levels["initializer"] in FOLLOWS_ACTIVATION
    return own, own * (activation_gain(levels["activation"], numbers) if follows else 1.0)


ACTIVATIONS: Mapping[str, Callable[[Numbers], str]] = {
    "logistic": lambda _: "nn.Sigmoid()",
    "tanh": lambda _: "nn.Tanh()",
    "relu": lambda _: "nn.ReLU()",
    "leaky_relu": lambda n: f"nn.LeakyReLU({n['negative_slope']!r})",
    "rrelu": lambda _: "nn.RReLU()",
    "prelu": lambda _: "nn.PReLU()",
    "elu": lambda n: f"nn.ELU({n['elu_alpha']!r})",
    "selu": lambda _: "nn.SELU()",
    "gelu": lambda _: "nn.GELU()",
    "silu": lambda _: "nn.SiLU()",
    "swish_learned": lambda _: "LearnedSwish()",
    "swiglu": lambda _: "SwiGLU()",
    "gelu_tanh": lambda _: 'nn.GELU(approximate="tanh")',
    "gelu_sigmoid": lambda _: "Elementwise(lambda z: z * torch.sigmoid(1.702 * z))",
    "mish": lambda _: "nn.Mish()",
    "relu_squared": lambda _: "Elementwise(lambda z: torch.relu(z).square())",
    "softplus": lambda _: "nn.Softplus()",
    "hard_sigmoid": lambda _: "nn.Hardsigmoid()",
    "hard_tanh": lambda _: "nn.Hardtanh()",
    "hard_swish": lambda _: "nn.Hardswish()",
    "penalized_tanh": lambda _: "Elementwise(lambda z: nn.functional.leaky_relu(torch.tanh(z), 0.25))",
    "identity": lambda _: "nn.Identity()",
}

NORMALIZATIONS: Mapping[str, str | None] = {
    "none": None,
    "batch_norm": "nn.BatchNorm1d({features}, momentum={momentum})",
    "batch_norm_after": "nn.BatchNorm1d({features}, momentum={momentum})",
    "batch_norm_no_bias": "nn.BatchNorm1d({features}, momentum={momentum})",
    "layer_norm": "nn.LayerNorm({features})",
    "layer_norm_all": "nn.LayerNorm({features})",
    "rms_norm": "ShiftedRMSNorm({features})",
}

DROPOUTS: Mapping[str, str] = {
    "none": "",
    "dropout": "nn.Dropout",
    "dropout_last1": "nn.Dropout",
    "dropout_last3": "nn.Dropout",
    "dropout_inputs": "nn.Dropout",
    "alpha_dropout": "nn.AlphaDropout",
    "dropconnect": "HiddenLinear",
}
"""The layer that drops; `HiddenLinear` drops weights, and takes the place of the linear map."""

BETAS = "betas=({beta1}, {beta2}), eps={eps}"
NADAM = "torch.optim.NAdam({groups}, lr={learning_rate}, " + BETAS
RADAM = "torch.optim.RAdam({groups}, lr={learning_rate}, " + BETAS
ADAFACTOR = (
    "torch.optim.Adafactor({groups}, lr={learning_rate}, beta2_decay={beta2_decay}, "
    "eps=(None, {eps2}), d={update_limit}"
)

MUON = "Muon({groups}, lr={learning_rate}, momentum={momentum}"

OPTIMIZERS: Mapping[str, str] = {
    "sgd": "torch.optim.SGD({groups}, lr={learning_rate}{decay})",
    "momentum": "torch.optim.SGD({groups}, lr={learning_rate}, momentum={momentum}{decay})",
    "nesterov": "torch.optim.SGD({groups}, lr={learning_rate}, momentum={momentum}, nesterov=True{decay})",
    "adagrad": "torch.optim.Adagrad({groups}, lr={learning_rate}, eps={eps}{decay})",
    "rmsprop": "torch.optim.RMSprop({groups}, lr={learning_rate}, alpha={alpha}, eps={eps}{decay})",
    "adam": "torch.optim.Adam({groups}, lr={learning_rate}, " + BETAS + "{decay})",
    "adamw": "torch.optim.Adam({groups}, lr={learning_rate}, " + BETAS + "{decay})",
    "adamax": "torch.optim.Adamax({groups}, lr={learning_rate}, " + BETAS + "{decay})",
    "nadam": NADAM + "{decay})",
    "amsgrad": "torch.optim.Adam({groups}, lr={learning_rate}, " + BETAS + ", amsgrad=True{decay})",
    "radam": RADAM + "{decay})",
    "adafactor": ADAFACTOR + ")",
    "muon": MUON + ")",
    "muon_matched": MUON + ", matched=True)",
}
"""`groups` are the parameters; `decay` is ', weight_decay=...' or ''. Decay is coupled here: `fit` adds what
Adafactor and Muon, which know none, leave out."""
COUPLES_NOTHING = ("adafactor", "muon", "muon_matched")
MUONS = ("muon", "muon_matched")
"""Optimizers that treat the matrices between the first weight and the last by themselves."""

DECOUPLED: Mapping[str, str] = {
    "adam": "torch.optim.AdamW({groups}, lr={learning_rate}, " + BETAS + "{decay})",
    "adamw": "torch.optim.AdamW({groups}, lr={learning_rate}, " + BETAS + "{decay})",
    "amsgrad": "torch.optim.AdamW({groups}, lr={learning_rate}, " + BETAS + ", amsgrad=True{decay})",
    "nadam": NADAM + ", decoupled_weight_decay=True{decay})",
    "radam": RADAM + ", decoupled_weight_decay=True{decay})",
    "adafactor": ADAFACTOR + "{decay})",
    "muon": MUON + "{decay})",
    "muon_matched": MUON + ", matched=True{decay})",
}
"""Where torch has an optimizer with decoupled decay; elsewhere `fit` shrinks the parameters itself."""

CYCLES_MOMENTUM = ("momentum", "nesterov", "adam", "adamw", "adamax", "nadam", "amsgrad", "radam", *MUONS)
"""Optimizers whose momentum a 1cycle moves."""

WARMED = "warmed_up(step, round({warmup_share} * total), total, {after})"

SCHEDULES: Mapping[str, str] = {
    "constant": "1.0",
    "exponential": "{final_lr_fraction} ** (step / total)",
    "cosine": "(1 + math.cos(math.pi * step / total)) / 2",
    "power": "1 / (1 + (1 / {final_lr_fraction} - 1) * step / total)",
    "piecewise": "1.0 if step < math.ceil(0.2 * total) else 0.5 if step < math.ceil(0.8 * total) else 0.1",
    "step": "{step_factor} ** (step // math.ceil(total / 3))",
    "linear": "1 - step / total",
    "cosine_restarts": "cosine_restarts(step, total)",
    "warmup_cosine": WARMED.format(
        warmup_share="{warmup_share}", after="lambda s, n: (1 + math.cos(math.pi * s / n)) / 2"
    ),
    "warmup_linear": WARMED.format(warmup_share="{warmup_share}", after="lambda s, n: 1 - s / n"),
    "warmup_stable_decay": WARMED.format(
        warmup_share="{warmup_share}",
        after="lambda s, n: min(1.0, (n - s) / max(1, round({cooldown_share} * total)))",
    ),
}
"""The share of the peak rate at the 0-based `step` of `total`."""

ONE_CYCLES: Mapping[str, str] = {
    "one_cycle": "",
    "one_cycle_linear": ', pct_start=0.45, anneal_strategy="linear", three_phase=True',
    "one_cycle_fixed_momentum": "",
}
"""Arguments of torch's OneCycleLR besides the peak and the steps."""

SCALINGS: Mapping[str, tuple[str, ...]] = {
    "z_score": (
        "centre, unit = x.mean(dim=0), x.std(dim=0, correction=0)",
        "model.centre, model.unit = centre, torch.where(unit > 0, unit, torch.ones_like(unit))",
    ),
    "min_max": (
        "low, high = x.amin(dim=0), x.amax(dim=0)",
        "half = (high - low) / 2",
        "model.centre, model.unit = (low + high) / 2, torch.where(half > 0, half, torch.ones_like(half))",
    ),
    "raw": ("model.centre, model.unit = torch.zeros_like(x[0]), torch.ones_like(x[0])",),
    "batch_norm": ("model.centre, model.unit = torch.zeros_like(x[0]), torch.ones_like(x[0])",),
}

CONSTRAINTS: Mapping[str, str] = {"none": "", "symmetric": "HiddenLinear", "max_norm": "update"}
"""Where a weight constraint is written: in the hidden layers' maps, or after every step."""

SMOOTHINGS: Mapping[str, str] = {"none": "0.0", "label_smoothing": "{smoothing}"}
STOPS: Mapping[str, str] = {"read_out_only": "math.inf", "patience": "{stop_patience}"}
DECAYS: tuple[str, ...] = ("optimizer_default", "none", "decoupled", "l2", "l1")
SCOPES: tuple[str, ...] = ("everything", "weights")
WARMUPS: tuple[str, ...] = ("none", "linear")
BIASES: tuple[str, ...] = ("as_initializer", "zeros", "uniform")

_PLACES = "items are flat rows here, without neighbours to move; change x_train yourself before each epoch"

LEFT_OUT: Mapping[tuple[str, str], str] = {
    ("augmentation", "flip"): _PLACES,
    ("augmentation", "shift"): _PLACES,
    ("augmentation", "rotation"): _PLACES,
    ("augmentation", "declared"): f"which changes are meant hangs on the task, and {_PLACES}",
}
"""(factor, level) -> why no line can stand for it; the framework's default is written in its place."""

MODEL_FACTORS = ("initializer", "bias", "activation", "normalization", "dropout")
"""Factors that a network of one's own realises itself."""

CLIPPINGS: Mapping[str, Callable[[Numbers], list[str]]] = {
    "none": lambda _: [],
    "norm": lambda n: [
        f"    torch.nn.utils.clip_grad_norm_(model.parameters(), {n['clip_norm']!r})",
    ],
    "value": lambda n: [
        f"    torch.nn.utils.clip_grad_value_(model.parameters(), {n['clip_value']!r})",
    ],
    "shrink": lambda n: [
        "    there = [p.grad for p in model.parameters() if p.grad is not None]",
        "    norm = torch.nn.utils.get_total_norm(there)",
        f"    if norm > {n['clip_norm']!r}:",
        "        for p in model.parameters():",
        "            if p.grad is not None:",
        f"                p.grad.mul_({n['shrink_factor']!r})",
    ],
}
"""What is done to the gradients before a step."""
