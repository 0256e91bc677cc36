"""The images that an export in fewer bits is made and judged with."""

from __future__ import annotations

from itertools import islice

from nas.export.precisions import CALIBRATION_IMAGES, COMPARED_IMAGES, Samples
from nas.pipeline.images import load_study_data
from nas.study.folder import Study

_BATCH_SIZE = 250


def load_samples(study: Study) -> Samples:
    """Return images of a study that files of fewer bits are made and judged with: never those of the test.

    Raises:
        RequestError: If the images are not those of the study.
    """
    data = load_study_data(study.settings(), study)
    study.require_images(data)
    calibration, _ = next(data.train.batches(CALIBRATION_IMAGES, shuffle_seed=0))
    batches = -(-min(len(data.val), COMPARED_IMAGES) // _BATCH_SIZE)
    return Samples(calibration, lambda: islice(data.val.batches(_BATCH_SIZE, shuffle_seed=0), batches))
