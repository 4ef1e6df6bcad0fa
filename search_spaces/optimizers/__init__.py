"""Optimizers: how gradients become a step."""

from __future__ import annotations

from search_spaces.factor import Factor, Level, Source
from search_spaces.optimizers.adam_variants import adamax, amsgrad, nadam, radam
from search_spaces.optimizers.adaptive import adagrad, adam, adam_fused, rmsprop
from search_spaces.optimizers.factored import adafactor, adafactor_sizes
from search_spaces.optimizers.gradient_descent import momentum, momentum_fused, nesterov, nesterov_fused, sgd
from search_spaces.optimizers.muon import muon, muon_matched, needs_a_matrix
from search_spaces.optimizers.numbers import (
    ADAGRAD_EPS,
    ADAM_RATE,
    ADAMAX_BETA2,
    ADAMAX_EPS,
    ALPHA,
    BETA1,
    BETA2,
    BETA2_DECAY,
    EPS,
    EPS2,
    MOMENTUM,
    MUON_MOMENTUM,
    UPDATE_LIMIT,
    rate,
)
from search_spaces.optimizers.rule import Step, UpdateRule
from search_spaces.regularizers import DECOUPLED_DECAY, MUON_DECAY

__all__ = ["OPTIMIZER", "Step", "UpdateRule"]

ADAM = UpdateRule(buffers=("mean", "square"), momentum_number="beta1", apply=adam, fused=adam_fused)

# Cost ranks: the framework's own, then numbers to tune, then the time of a step. Milliseconds for 54 members
# of 20 layers of 32 units in float32 on one thread of an EPYC core (torch 2.14.1, best of 30): sgd 0.3,
# momentum 0.7, nesterov 0.8, adagrad 1.8, rmsprop 1.8, muon 37, adamax 2.0, adam 2.0, amsgrad 3.4, nadam 2.7,
# radam 3.6, adafactor 17 (amsgrad and nadam took the same on smaller rows).
OPTIMIZER: Factor[UpdateRule] = Factor(
    name="optimizer",
    meaning="how gradients become a step",
    levels=(
        Level(
            name="sgd",
            build=UpdateRule(buffers=(), momentum_number=None, apply=sgd),
            enters="structure",
            source=Source(
                document="001 002; torch 2.14 SGD", claim="slow, but its solutions generalize well"
            ),
            cost_rank=0,
            ranges=(rate(3e-4, 3.0, 1e-3),),
            note="torch has no default optimizer; its first tutorial uses SGD, which stands in for one. "
            "torch's OneCycleLR would give it momentum; here it stays without.",
        ),
        Level(
            name="momentum",
            build=UpdateRule(
                buffers=("velocity",), momentum_number="momentum", apply=momentum, fused=momentum_fused
            ),
            enters="structure",
            source=Source(
                document="001 002 004; Polyak 1964; torch 2.14 SGD",
                claim="momentum 0.9 rolls down valleys faster than plain SGD",
            ),
            cost_rank=1,
            ranges=(rate(1e-4, 1.0, 1e-3), MOMENTUM),
            note="torch's own default is momentum 0, which is the level sgd; 0.9 is usual (001, 004).",
        ),
        Level(
            name="nesterov",
            build=UpdateRule(
                buffers=("velocity",), momentum_number="momentum", apply=nesterov, fused=nesterov_fused
            ),
            enters="structure",
            source=Source(
                document="001 004; Sutskever et al. 2013 (PMLR 28); torch 2.14 SGD",
                claim="almost always faster than momentum; with AdamW one of the two guideline optimizers",
            ),
            cost_rank=2,
            ranges=(rate(1e-4, 1.0, 1e-3), MOMENTUM),
            note="torch's own default is momentum 0; 0.9 is usual (001, 004).",
        ),
        Level(
            name="adagrad",
            build=UpdateRule(buffers=("total", "scratch"), momentum_number=None, apply=adagrad),
            enters="structure",
            source=Source(
                document="001 004; Duchi et al. 2011 (JMLR 12); torch 2.14 Adagrad",
                claim="heads straight for the optimum on simple problems, but stops too early on networks",
            ),
            cost_rank=3,
            ranges=(rate(1e-4, 1.0, 1e-2), ADAGRAD_EPS),
            note="The accumulator starts at 0, as in torch. No momentum, so 1cycle cycles none.",
        ),
        Level(
            name="rmsprop",
            build=UpdateRule(buffers=("square", "scratch"), momentum_number=None, apply=rmsprop),
            enters="structure",
            source=Source(
                document="001 004; Tieleman and Hinton 2012; torch 2.14 RMSprop",
                claim="a moving average repairs AdaGrad, which stops too early",
            ),
            cost_rank=4,
            ranges=(rate(1e-5, 1e-1, 1e-2), ALPHA, EPS),
            note="alpha defaults to torch's 0.99 (001 and 004 use 0.9). No momentum, so 1cycle cycles none.",
        ),
        Level(
            name="adam",
            build=ADAM,
            enters="structure",
            source=Source(
                document="001 002 004; Kingma and Ba 2015, arXiv:1412.6980; torch 2.14 Adam",
                claim="momentum and RMSProp in one; learning rate 0.001 is often a good default",
            ),
            cost_rank=8,
            ranges=(ADAM_RATE, BETA1, BETA2, EPS),
        ),
        Level(
            name="adamax",
            build=UpdateRule(buffers=("mean", "largest"), momentum_number="beta1", apply=adamax),
            enters="structure",
            source=Source(
                document="001 004; Kingma and Ba 2015, arXiv:1412.6980; torch 2.14 Adamax",
                claim="can be more stable than Adam, but Adam generally performs better",
            ),
            cost_rank=7,
            ranges=(rate(1e-5, 1e-1, 2e-3), BETA1, ADAMAX_BETA2, ADAMAX_EPS),
        ),
        Level(
            name="nadam",
            build=UpdateRule(buffers=("mean", "square", "missing"), momentum_number="beta1", apply=nadam),
            enters="structure",
            source=Source(
                document="001 004; Dozat 2016 (ICLR workshop); torch 2.14 NAdam",
                claim="Adam plus the Nesterov trick; generally outperforms Adam",
            ),
            cost_rank=10,
            ranges=(rate(1e-5, 1e-1, 2e-3), BETA1, BETA2, EPS),
            note="momentum_decay is fixed at torch's 0.004.",
        ),
        Level(
            name="amsgrad",
            build=UpdateRule(buffers=("mean", "square", "largest"), momentum_number="beta1", apply=amsgrad),
            enters="structure",
            source=Source(
                document="Reddi et al. 2018, arXiv:1904.09237; torch 2.14 Adam(amsgrad=True)",
                claim="repairs Adam's proof of convergence: the effective rate never rises",
            ),
            cost_rank=9,
            ranges=(ADAM_RATE, BETA1, BETA2, EPS),
            note="Not in the seed documents.",
        ),
        Level(
            name="radam",
            build=UpdateRule(buffers=("mean", "square"), momentum_number="beta1", apply=radam),
            enters="structure",
            source=Source(
                document="Liu et al. 2020, arXiv:1908.03265; torch 2.14 RAdam",
                claim="does for Adam's noisy first steps what warm-up does, without a number to tune",
            ),
            cost_rank=11,
            ranges=(ADAM_RATE, BETA1, BETA2, EPS),
            note="Not in the seed documents.",
        ),
        Level(
            name="adafactor",
            build=UpdateRule(
                buffers=("rows", "columns"), momentum_number=None, apply=adafactor, measure=adafactor_sizes
            ),
            enters="structure",
            source=Source(
                document="Shazeer and Stern 2018, arXiv:1804.04235; torch 2.14 Adafactor",
                claim="Adam's second moment in the memory of a row and a column, without momentum",
            ),
            cost_rank=12,
            ranges=(rate(1e-4, 1.0, 1e-2), BETA2_DECAY, EPS2, UPDATE_LIMIT),
            note="Not in the seed documents. As in torch the learning rate is the largest step relative to a "
            "tensor's own size. No momentum, so 1cycle cycles none.",
        ),
        Level(
            name="muon",
            build=UpdateRule(
                buffers=("velocity", "mean", "square"),
                momentum_number="momentum",
                apply=muon,
                check=needs_a_matrix,
            ),
            enters="structure",
            source=Source(
                document="Jordan et al. 2024, kellerjordan.github.io/posts/muon; torch 2.14 Muon",
                claim="the momentum of a hidden matrix, made orthogonal; AdamW for all other parameters",
            ),
            cost_rank=5,
            ranges=(rate(1e-4, 1.0, 1e-3), MUON_MOMENTUM, MUON_DECAY),
            note="Not in the seed documents. The first weight and the last are AdamW's, which takes the same "
            "learning rate and decay, torch's betas and eps, and whose beta1 a 1cycle leaves alone. No "
            "rounding to bfloat16.",
        ),
        Level(
            name="muon_matched",
            build=UpdateRule(
                buffers=("velocity", "mean", "square"),
                momentum_number="momentum",
                apply=muon_matched,
                check=needs_a_matrix,
            ),
            enters="structure",
            source=Source(
                document="Liu et al. 2025, arXiv:2502.16982; torch 2.14 Muon(adjust_lr_fn='match_rms_adamw')",
                claim="Muon with updates of AdamW's size, so that one learning rate suits both",
            ),
            cost_rank=6,
            ranges=(rate(1e-4, 1.0, 1e-3), MUON_MOMENTUM, MUON_DECAY),
            note="As muon, but for how the rate depends on a matrix's shape.",
        ),
        Level(
            name="adamw",
            build=ADAM,
            enters="structure",
            source=Source(
                document="001; Loshchilov and Hutter 2019, arXiv:1711.05101; torch 2.14 AdamW",
                claim="Adam with decoupled weight decay; with Nesterov one of the two guideline optimizers",
            ),
            cost_rank=13,
            ranges=(ADAM_RATE, BETA1, BETA2, EPS, DECOUPLED_DECAY),
            note="The rule is Adam's; the trainer applies the decay.",
        ),
    ),
    framework_default="sgd",
    textbook_shallow=("nesterov", "adamw"),
    textbook_deep=("nesterov", "adamw"),
)
