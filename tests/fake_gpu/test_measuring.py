"""Evaluation, BatchNorm calibration, augmentation and latency on an imitated GPU."""

from __future__ import annotations
