"""What a network learns from a teacher's answers: the loss of its logits to those of the teacher."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def soft_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return the divergence of a network's probabilities from its teacher's, both softened.

    ``T^2 KL(softmax(teacher / T), softmax(logits / T))``, the mean over images; the factor keeps the gradients at
    every temperature as large as those of the labels (Hinton et al., arXiv 1503.02531, section 2). It is the
    cross-entropy but for the teacher's own entropy, which has no gradient, so that it is 0 where the two agree.

    Args:
        logits: Of the network, ``(B, classes)``.
        teacher_logits: Of the teacher.
        temperature: T.
    """
    student = F.log_softmax(logits.float() / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits.float() / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def hard_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the cross-entropy to the class that the teacher finds likeliest (DeiT, arXiv 2012.12877, eq. 3).

    Args:
        logits: Of the network, ``(B, classes)``.
        teacher_logits: Of the teacher.
    """
    return F.cross_entropy(logits.float(), teacher_logits.argmax(dim=1))
