"""Which changes of an item's places training items undergo, with new draws every epoch."""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.factor import Factor, Level, Range, Source


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Which transformations are drawn for every training item of every epoch."""

    transformations: frozenset[str] = frozenset()
    """Among shift, flip and rotation; a task must declare that they leave its labels right."""
    declared: bool = False
    """All that the task declares."""

    def on(self, declared: frozenset[str]) -> frozenset[str]:
        """The transformations on a task that declares those."""
        return declared if self.declared else self.transformations


ROTATION_DEGREES = Range(
    name="rotation_degrees",
    low=1.0,
    high=45.0,
    default=15.0,
    meaning="an item is turned by an angle drawn uniformly between minus and plus this, in degrees",
)

# Cost ranks: the framework's own, then numbers to tune, then the time of a step of [16, 32] images of
# 12 x 12 in float32 on one thread of an EPYC core.
AUGMENTATION: Factor[Augmentation] = Factor(
    name="augmentation",
    meaning="how training items are changed at random without changing what they are",
    levels=(
        Level(
            name="none",
            build=Augmentation(),
            enters="numbers",
            source=Source(document="torch 2.14", claim="items are used as they are"),
            cost_rank=0,
            formula="items as they are",
        ),
        Level(
            name="flip",
            build=Augmentation(transformations=frozenset({"flip"})),
            enters="numbers",
            source=Source(
                document="000 003; torchvision 0.29 RandomHorizontalFlip",
                claim="flipped images are new images of the same thing and reduce overfitting",
            ),
            cost_rank=1,
            note="Left and right are exchanged with probability 1/2.",
            formula="left and right exchanged with probability 1/2",
        ),
        Level(
            name="shift",
            build=Augmentation(transformations=frozenset({"shift"})),
            enters="numbers",
            source=Source(
                document="000 003; torchvision 0.29 RandomCrop",
                claim="random crops of a padded image reduce overfitting",
            ),
            cost_rank=2,
            note="By whole places, up to an eighth of each side (at least 1), uniformly; the border is "
            "repeated (RandomCrop's padding_mode 'edge'). A sequence is shifted along its steps.",
            formula="moved by whole places, up to an eighth of each side",
        ),
        Level(
            name="declared",
            build=Augmentation(declared=True),
            enters="numbers",
            source=Source(
                document="000 003", claim="more data by crop, flip and rotation is the best regularization"
            ),
            cost_rank=3,
            note="Everything the task declares to leave its labels right; a rotation by up to 15 degrees.",
            formula="every transformation that the task declares to leave its labels right",
        ),
        Level(
            name="rotation",
            build=Augmentation(transformations=frozenset({"rotation"})),
            enters="numbers",
            source=Source(
                document="000 003; torchvision 0.29 RandomRotation",
                claim="images turned a little are new images of the same thing and reduce overfitting",
            ),
            cost_rank=4,
            ranges=(ROTATION_DEGREES,),
            note="Bilinear between places, the border repeated; RandomRotation takes the nearest place and "
            "fills with 0.",
            formula="turned by up to rotation_degrees, to either side",
        ),
    ),
    framework_default="none",
    textbook_shallow=("none",),
    textbook_deep=("none",),
)
