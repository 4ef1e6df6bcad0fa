"""How the weights and biases of a linear map start: each level scales the same random draw."""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.factor import Factor, Level, Range, Source
from search_spaces.weight_draws import (
    CONSTANT,
    Draw,
    WeightDraw,
    constant,
    fixed,
    glorot,
    he,
    he_average,
    he_backward,
    lecun,
    lecun_backward,
    normal,
    one,
    orthogonal,
    random_bias,
    third_of_lecun,
    truncated,
    uniform,
    zero_bias,
)


@dataclass(frozen=True, kw_only=True)
class Initializer:
    """How one linear map with `fan_in` inputs and `fan_out` outputs starts.

    Call `weight` first, then `bias`, once per map on the same stream: every level takes the same
    number of draws of its kind, so the next map's draws stay paired between levels too.

    Examples:
        >>> import numpy as np
        >>> he, draws = INITIALIZER.level("he_normal").build, np.random.default_rng(0)
        >>> he.weight(100, 50, draws).shape, he.bias(100, 50, draws).shape
        ((100, 50), (50,))
    """

    weight: WeightDraw
    """-> float32 [fan_in, fan_out]. A convolution's fans count the places of its kernel, as torch does, and
    its matrix has only `columns` columns: the channels out."""
    bias: Draw
    """-> float32 [fan_out]."""
    batch_power: float = 0.0
    """The trainer multiplies initial weights by batch_size ** batch_power; 0 leaves them alone."""
    follows_activation: bool = False
    """The trainer multiplies weights of maps whose inputs are activations by the activation's gain."""


INIT_GAIN = Range(
    name="init_gain",
    low=0.25,
    high=4.0,
    default=1.0,
    log=True,
    meaning="factor on every initial weight, applied by the trainer (biases are left alone)",
)


FIXED_SD_GAIN = Range(
    name="init_gain",
    low=0.02,
    high=20.0,
    default=1.0,
    log=True,
    meaning="standard deviation of the initial weights in units of 0.05 (so from 0.001 to 1)",
)


# Cost ranks: the framework's own, then numbers to tune, then what a 64 x 64 map takes (microseconds, one
# thread of an EPYC core, numpy, best of 30): constant 4, uniform 17, normal 44, truncated
# normal 80, orthogonal 182. All of it is spent once, before step 1.
def _level(
    name: str,
    weight: WeightDraw,
    rank: int,
    source: Source,
    bias: Draw = zero_bias,
    note: str = "",
    ranges: tuple[Range, ...] = (INIT_GAIN,),
    batch_power: float = 0.0,
    follows_activation: bool = False,
    formula: str = "",
) -> Level[Initializer]:
    return Level(
        name=name,
        build=Initializer(
            weight=weight, bias=bias, batch_power=batch_power, follows_activation=follows_activation
        ),
        enters="weights",
        source=source,
        cost_rank=rank,
        ranges=ranges,
        note=note,
        formula=formula,
    )


HE = Source(
    document="001 002 003 004; He et al. 2015, arXiv:1502.01852",
    claim="variance 2 / fan_in keeps signals alive under ReLU and its relatives",
)
GLOROT = Source(
    document="001 002 003 004; Glorot and Bengio 2010 (PMLR 9)",
    claim="variance 1 / fan_avg suits tanh, logistic and linear layers in both directions",
)
LECUN = Source(
    document="001 004; LeCun et al. 1998 (Efficient BackProp); Klambauer et al. 2017, arXiv:1706.02515",
    claim="variance 1 / fan_in keeps a linear map's variance; SELU self-normalizes with it",
)
HE_OTHER_FAN = Source(
    document="002; He et al. 2015, arXiv:1502.01852; torch 2.14 kaiming_normal_(mode=...)",
    claim="either fan serves: they differ by a factor per layer, which cancels along the network",
)
LECUN_FAN_OUT = Source(
    document="002; Glorot and Bengio 2010 (PMLR 9); Keras VarianceScaling(1, 'fan_out')",
    claim="variance 1 / fan_out keeps the gradients of a linear map",
)
BY_MOMENT = Source(
    document="001; He et al. 2015, arXiv:1502.01852; Brock et al. 2021, arXiv:2101.08692",
    claim="each activation has its own right variance: what its outputs' second moment asks for",
)
MOMENT_NOTE = (
    "Variance 1 / (fan_in E[f(z)^2]) for z from N(0, 1), and 1 / fan_in for the map that reads the inputs. "
    "He for ReLU, 2 / (1 + a^2) for leaky ReLU, LeCun for SELU; torch's calculate_gain has 5/3 for tanh by "
    "convention (here 1.59) and none for ELU, GELU, Swish and Mish. Learned slopes count at their start."
)
HE_FAN_AVG = Source(
    document="He et al. 2015, arXiv:1502.01852; Keras VarianceScaling(2, 'fan_avg')",
    claim="the average of both fans compromises between signals and gradients under ReLU",
)
FAN_AVG = "torch has no such mode of kaiming_*_; it is xavier_*_ with gain sqrt(2)."
LECUN_FAN_AVG = "LeCun by the average of both fans is Glorot."
TRUNCATED = "Cut at two standard deviations, with the variance kept, as in Keras."
UNTRUNCATED = (
    "As in torch.nn.init, the normal is not truncated (Keras truncates it: see the truncated levels)."
)

INITIALIZER: Factor[Initializer] = Factor(
    name="initializer",
    meaning="how weights and biases start",
    levels=(
        _level(
            "he_normal",
            normal(he),
            11,
            HE,
            note=UNTRUNCATED,
            formula="weights from N(0, 2 / fan_in); biases 0",
        ),
        _level(
            "he_uniform", uniform(he), 4, HE, formula="weights from U(-r, r), r = sqrt(6 / fan_in); biases 0"
        ),
        _level(
            "he_truncated",
            truncated(he),
            20,
            HE,
            note=TRUNCATED,
            formula="weights from N(0, s^2) within 2 s, their variance 2 / fan_in; biases 0",
        ),
        _level(
            "he_fan_out_normal",
            normal(he_backward),
            12,
            HE_OTHER_FAN,
            formula="weights from N(0, 2 / fan_out); biases 0",
        ),
        _level(
            "he_fan_out_uniform",
            uniform(he_backward),
            5,
            HE_OTHER_FAN,
            formula="weights from U(-r, r), r = sqrt(6 / fan_out); biases 0",
        ),
        _level(
            "he_fan_avg_normal",
            normal(he_average),
            13,
            HE_FAN_AVG,
            note=FAN_AVG,
            formula="weights from N(0, 2 / fan_avg); biases 0",
        ),
        _level(
            "he_fan_avg_uniform",
            uniform(he_average),
            6,
            HE_FAN_AVG,
            note=FAN_AVG,
            formula="weights from U(-r, r), r = sqrt(6 / fan_avg); biases 0",
        ),
        _level(
            "glorot_normal",
            normal(glorot),
            14,
            GLOROT,
            note=UNTRUNCATED,
            formula="weights from N(0, 1 / fan_avg); biases 0",
        ),
        _level(
            "glorot_uniform",
            uniform(glorot),
            7,
            GLOROT,
            note="With zero biases, which makes it Keras' default for a dense layer (004).",
            formula="weights from U(-r, r), r = sqrt(3 / fan_avg); biases 0",
        ),
        _level(
            "glorot_truncated",
            truncated(glorot),
            23,
            GLOROT,
            note=TRUNCATED,
            formula="weights from N(0, s^2) within 2 s, their variance 1 / fan_avg; biases 0",
        ),
        _level(
            "lecun_normal",
            normal(lecun),
            15,
            LECUN,
            note=UNTRUNCATED,
            formula="weights from N(0, 1 / fan_in); biases 0",
        ),
        _level(
            "lecun_uniform",
            uniform(lecun),
            8,
            LECUN,
            formula="weights from U(-r, r), r = sqrt(3 / fan_in); biases 0",
        ),
        _level(
            "lecun_truncated",
            truncated(lecun),
            24,
            LECUN,
            note=TRUNCATED,
            formula="weights from N(0, s^2) within 2 s, their variance 1 / fan_in; biases 0",
        ),
        _level(
            "he_fan_out_truncated",
            truncated(he_backward),
            21,
            HE_OTHER_FAN,
            note=TRUNCATED,
            formula="weights from N(0, s^2) within 2 s, their variance 2 / fan_out; biases 0",
        ),
        _level(
            "he_fan_avg_truncated",
            truncated(he_average),
            22,
            HE_FAN_AVG,
            note=TRUNCATED,
            formula="weights from N(0, s^2) within 2 s, their variance 2 / fan_avg; biases 0",
        ),
        _level(
            "lecun_fan_out_normal",
            normal(lecun_backward),
            16,
            LECUN_FAN_OUT,
            note=LECUN_FAN_AVG,
            formula="weights from N(0, 1 / fan_out); biases 0",
        ),
        _level(
            "lecun_fan_out_uniform",
            uniform(lecun_backward),
            9,
            LECUN_FAN_OUT,
            note=LECUN_FAN_AVG,
            formula="weights from U(-r, r), r = sqrt(3 / fan_out); biases 0",
        ),
        _level(
            "lecun_fan_out_truncated",
            truncated(lecun_backward),
            25,
            LECUN_FAN_OUT,
            note=TRUNCATED,
            formula="weights from N(0, s^2) within 2 s, their variance 1 / fan_out; biases 0",
        ),
        _level(
            "activation_gain_normal",
            normal(lecun),
            17,
            BY_MOMENT,
            note=MOMENT_NOTE,
            follows_activation=True,
            formula="weights from N(0, 1 / (fan_in m)), m = E[f(z)^2], 1 in the first map; biases 0",
        ),
        _level(
            "activation_gain_uniform",
            uniform(lecun),
            10,
            BY_MOMENT,
            note=MOMENT_NOTE,
            follows_activation=True,
            formula="weights from U(-r, r), r = sqrt(3 / (fan_in m)), m as in the normal level; biases 0",
        ),
        _level(
            "orthogonal",
            orthogonal,
            26,
            Source(
                document="001; Saxe et al. 2014, arXiv:1312.6120",
                claim="an orthogonal matrix keeps the norm of its input: stable variance at the start",
            ),
            note="Gain 1, as in torch.nn.init.orthogonal_; exact norms only where fan_in <= fan_out.",
            formula="weights with orthonormal rows or columns, whichever are fewer; biases 0",
        ),
        _level(
            "std_normal",
            normal(one),
            19,
            Source(
                document="000 001 003",
                claim="N(0, 1) was typical once; outputs then vary more than inputs, layer after layer",
            ),
            note="A foil: nobody recommends it.",
            formula="weights from N(0, 1); biases 0",
        ),
        _level(
            "constant_variance",
            normal(fixed),
            18,
            Source(
                document="002; Keras RandomNormal(stddev=0.05)",
                claim="N(0, s^2) with one s for every layer lets signals grow or fade with its width",
            ),
            note="s = 0.05 * init_gain.",
            ranges=(FIXED_SD_GAIN,),
            formula="weights from N(0, 0.05^2); biases 0",
        ),
        _level(
            "batch_scaled",
            normal(one),
            2,
            Source(
                document="000",
                claim="variance 1 / sqrt(n), n being the batch size, remedies exploding gradients",
            ),
            note="Kept so that it can be refuted: fan_in is meant. Its scale is fixed, so it opens no gain.",
            ranges=(),
            batch_power=-0.25,
            formula="weights from N(0, 1 / sqrt(batch_size)); biases 0",
        ),
        _level(
            "constant",
            constant(CONSTANT),
            3,
            Source(
                document="002; torch 2.14 nn.init.constant_",
                claim="equal weights stay equal: a layer of them learns as one unit",
            ),
            note="A foil. 0.005, times init_gain.",
            formula="every weight is 0.005; biases 0",
        ),
        _level(
            "zeros",
            constant(0.0),
            1,
            Source(
                document="002 003; torch 2.14 nn.init.zeros_",
                claim="with zero weights no gradient reaches a hidden layer",
            ),
            note="A foil. No gain can scale it.",
            ranges=(),
            formula="every weight is 0; biases 0",
        ),
        _level(
            "torch_default",
            uniform(third_of_lecun),
            0,
            Source(
                document="001; torch 2.14 nn.Linear.reset_parameters",
                claim="nn.Linear starts as He uniform / sqrt(6), with random biases of no benefit",
            ),
            bias=random_bias,
            note="Weights and biases are both U(-1/sqrt(fan_in), 1/sqrt(fan_in)).",
            formula="weights and biases from U(-r, r), r = sqrt(1 / fan_in)",
        ),
    ),
    framework_default="torch_default",
    textbook_shallow=("he_normal", "he_uniform"),
    textbook_deep=("he_normal", "he_uniform"),
)
