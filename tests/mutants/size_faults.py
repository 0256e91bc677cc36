"""Faults of the sizes of images and designs that a test must catch: each is one change of one line."""

from __future__ import annotations

from tests.mutants.fault import Fault

SIZES, SCORES = "tests/nas/training/test_image_size.py", "tests/nas/evaluation/test_values.py"
SCALING = "tests/search_spaces/test_scaling.py"
SEQUENCE = "tests/search_spaces/test_block_sequence.py"
FOOTPRINT = "tests/nas/training/test_footprint.py"

SIZE_FAULTS = (
    Fault(
        "a path of a supernet is shown images at full size",
        "supernet/supernet.py",
        "x, maps = self.resize(images, architecture.image_size), None",
        "x, maps = images, None",
        (SCORES,),
    ),
    Fault(
        "the evaluator of populations shows designs images at full size",
        "supernet/steps.py",
        "x = self.supernet.resize(x, step.image_size)",
        "pass",
        (SCORES,),
    ),
    Fault(
        "one evaluator shows designs images at full size",
        "nas/evaluation/accuracy.py",
        "AtImageSize(self.supernet.extract(architecture), architecture.image_size)",
        "self.supernet.extract(architecture)",
        (SCORES,),
    ),
    Fault(
        "a step of retraining is of images at full size",
        "nas/training/subnet_step.py",
        "network if image_size is None else AtImageSize(network, image_size)",
        "network",
        (SIZES,),
    ),
    Fault(
        "a retraining keeps its design's size from its steps",
        "nas/training/subnet.py",
        "image_size=size,",
        "image_size=None,",
        (SIZES,),
    ),
    Fault(
        "a teacher is shown images at its student's size",
        "nas/training/subnet_step.py",
        "prepare_lesson(criterion, teaching, step, shard, images, labels)",
        "prepare_lesson(criterion, teaching, step, shard, images[:, :, ::2, ::2], labels)",
        (SIZES,),
    ),
    Fault(
        "an epoch's accuracy is of images at full size",
        "nas/training/subnet.py",
        "accuracy(AtImageSize(training.averaged_network, size), batches)",
        "accuracy(training.averaged_network, batches)",
        (SIZES,),
    ),
    Fault(
        "a retrained design is scored on images at full size",
        "nas/training/retraining_result.py",
        "resized = AtImageSize(network, size)",
        "resized = network",
        (SIZES,),
    ),
    Fault(
        "smaller images are not antialiased",
        "supernet/resizing.py",
        "antialias=True",
        "antialias=False",
        (SIZES,),
    ),
    Fault(
        "widths for a budget are searched coarsely",
        "search_spaces/scaling.py",
        "_NARROWEST, _WIDEST, _HALVINGS = 1 / 64, 64.0, 14",
        "_NARROWEST, _WIDEST, _HALVINGS = 1 / 64, 64.0, 2",
        (SCALING,),
    ),
    Fault(
        "blocks of a deeper stage no longer take turns",
        "search_spaces/block_sequence.py",
        "repeated.append(repeated[index - period] if",
        "repeated.append(repeated[-1] if",
        (SEQUENCE,),
    ),
    Fault(
        "what the first block alone has makes its sequence another",
        "search_spaces/block_sequence.py",
        "begins_again = _same_but_for_place(first, blocks[period])",
        "begins_again = first == blocks[period]",
        (SEQUENCE,),
    ),
    Fault(
        "PEG of a first block is repeated",
        "search_spaces/block_sequence.py",
        'return replace(first, pos="none")',
        "return first",
        (SEQUENCE,),
    ),
    Fault(
        "a shallower stage may lose a kind of its blocks",
        "search_spaces/scaling.py",
        "max(least_depth(stage.blocks), round(factor * len(stage.blocks)))",
        "max(1, round(factor * len(stage.blocks)))",
        (SCALING,),
    ),
    Fault(
        "a narrower map of more heads is no candidate for the worst path",
        "search_spaces/widths.py",
        "if not any(wider > dim and more >= heads for wider, more in self.pairs)",
        "if not any(wider > dim for wider, more in self.pairs)",
        (FOOTPRINT,),
    ),
)
