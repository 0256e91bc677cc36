"""What a network learns from a teacher's answers: the loss of its logits to those of the teacher.

A teacher that was asked about images before they were mixed has answered about each alone; the probabilities of its
answers are mixed then as the images and their labels are.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from nas.training.mixing import Mixing


def soft_loss(
    logits: Tensor, teacher_logits: Tensor, temperature: float, mixing: Mixing | None = None
) -> Tensor:
    """Return the divergence of a network's probabilities from its teacher's, both softened.

    ``T^2 KL(softmax(teacher / T), softmax(logits / T))``, the mean over images; the factor keeps the gradients at
    every temperature as large as those of the labels (Hinton et al., arXiv 1503.02531, section 2). It is the
    cross-entropy but for the teacher's own entropy, which has no gradient, so that it is 0 where the two agree.

    Args:
        logits: Of the network, ``(B, classes)``.
        teacher_logits: Of the teacher.
        temperature: T.
        mixing: How the network's images were mixed of those that the teacher answered about; None where both saw
            the same ones.
    """
    student = F.log_softmax(logits.float() / temperature, dim=1)
    softened = teacher_logits.float() / temperature
    if mixing is None:
        divergence = F.kl_div(student, F.log_softmax(softened, dim=1), reduction="batchmean", log_target=True)
    else:
        divergence = F.kl_div(student, mixing.mix(F.softmax(softened, dim=1)), reduction="batchmean")
    return divergence * temperature**2


def hard_loss(logits: Tensor, teacher_logits: Tensor, mixing: Mixing | None = None) -> Tensor:
    """Return the cross-entropy to the class that the teacher finds likeliest (DeiT, arXiv 2012.12877, eq. 3).

    Args:
        logits: Of the network, ``(B, classes)``.
        teacher_logits: Of the teacher.
        mixing: As of `soft_loss`; the classes of two images count by their shares, as labels do.
    """
    classes = teacher_logits.argmax(dim=1)
    if mixing is None:
        return F.cross_entropy(logits.float(), classes)
    return F.cross_entropy(logits.float(), mixing.mix(F.one_hot(classes, logits.shape[1]).float()))
