"""Accuracies with their errors: values computed by hand, what always holds, and how they are printed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.runtime.uncertainty import (
    Accuracy,
    decode_bits,
    describe_resolution,
    encode_bits,
    error_bar,
    error_fields,
    format_accuracy,
    infer_images,
    is_tie,
    largest_optimism,
    least_difference,
    mcnemar_p_value,
    standard_error,
    warn_of_small_set,
    wilson_interval,
)


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    """Return images, and how many of them are right."""
    images = draw(st.integers(1, 100_000))
    return images, draw(st.integers(0, images))


def test_the_standard_error_is_that_of_a_binomial_share() -> None:
    assert standard_error(90.0, 500) == pytest.approx(1.3416, abs=1e-4)  # sqrt(0.9 * 0.1 / 500)
    assert standard_error(50.0, 100) == pytest.approx(5.0)
    assert standard_error(100.0, 500) == 0.0


def test_wilsons_interval_has_a_width_where_all_are_right() -> None:
    # n / (n + z²) with z = 1.959964: 500 / 503.841459
    assert wilson_interval(100.0, 500) == (pytest.approx(99.2376, abs=1e-4), 100.0)
    assert wilson_interval(0.0, 500) == (0.0, pytest.approx(0.7624, abs=1e-4))
    # By hand for 8 of 10: centre 0.7167, half width 0.2267.
    assert wilson_interval(80.0, 10) == (pytest.approx(49.02, abs=0.01), pytest.approx(94.33, abs=0.01))


@given(counts())
def test_an_interval_contains_its_estimate_and_shrinks_with_the_images(found: tuple[int, int]) -> None:
    images, right = found
    top1 = 100 * right / images
    low, high = wilson_interval(top1, images)
    assert 0 <= low <= top1 <= high <= 100 and low < high
    narrower = wilson_interval(top1, 4 * images)
    assert narrower[1] - narrower[0] < high - low
    below, above = error_bar(top1, images)
    assert 0 <= below < top1 - low + 1e-9 or right == 0
    assert 0 <= above < high - top1 + 1e-9 or right == images
    assert below + above > 0


@pytest.mark.parametrize(
    ("top1", "images", "text"),
    [
        (90.0, 500, "90.0 ± 1.3%"),
        (97.0, 1164, "97.0 ± 0.5%"),
        (87.5, 8, "88 ± 12%"),
        (82.431, 50_000, "82.43 ± 0.17%"),
        (98.0, 50, "98 ± 2%"),
        (99.98, 5000, "99.98 ± 0.02%"),  # one image wrong: its error is not 0.0
        (100.0, 500, "100% (99.2-100.0%)"),
        (0.0, 8, "0% (0-32%)"),
        (90.6, None, "90.6% (error unknown)"),
    ],
)
def test_digits_are_those_that_the_images_support(top1: float, images: int | None, text: str) -> None:
    assert format_accuracy(top1, images) == text == str(Accuracy(top1, images))


@given(counts())
def test_no_printed_error_is_zero_and_no_hundredths_come_from_few_images(found: tuple[int, int]) -> None:
    images, right = found
    text = format_accuracy(100 * right / images, images)
    if "±" in text:
        value, error = text.removesuffix("%").split(" ± ")
        assert float(error) > 0
        digits = len(value.partition(".")[2])
        assert digits == len(error.partition(".")[2])
        if images < 10_000 and standard_error(100 * right / images, images) >= 0.05:
            assert digits <= 1


def test_mcnemars_test_by_hand() -> None:
    assert mcnemar_p_value(0, 0) == 1.0
    assert mcnemar_p_value(6, 0) == pytest.approx(2 / 2**6)
    assert mcnemar_p_value(10, 2) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert mcnemar_p_value(2, 10) == mcnemar_p_value(10, 2)
    assert mcnemar_p_value(7, 7) == 1.0
    assert mcnemar_p_value(20_000, 20_000) == 1.0  # no overflow


def bits(right: set[int], images: int) -> int:
    return sum(1 << (images - 1 - image) for image in right)


def test_ties_are_decided_image_by_image() -> None:
    """6 images more are a difference where one is right on all that the other is, and noise where both win some."""
    nested = Accuracy(86.0, 100, bits(set(range(86)), 100))
    lower = Accuracy(80.0, 100, bits(set(range(80)), 100))
    crossed = Accuracy(80.0, 100, bits(set(range(20, 100)), 100))
    assert not is_tie(nested, lower) and not is_tie(lower, nested)  # 6 to 0: 3%
    assert is_tie(nested, crossed)  # 20 to 14
    assert is_tie(nested, Accuracy(81.0, 100, bits(set(range(81)), 100)))  # 5 to 0: 6%
    # Nothing is known of the images: errors count as independent.
    assert is_tie(Accuracy(86.0, 100), Accuracy(80.0, 100))
    assert not is_tie(Accuracy(95.0, 100), Accuracy(80.0, 100))
    assert is_tie(Accuracy(95.0, None), Accuracy(5.0, None))


@given(st.integers(1, 400), st.data())
def test_designs_closer_than_the_least_difference_are_ties(images: int, data: st.DataObject) -> None:
    one, other = (data.draw(st.integers(0, 2**images - 1)) for _ in range(2))
    accuracies = [Accuracy(100 * x.bit_count() / images, images, x) for x in (one, other)]
    assert is_tie(*accuracies) == is_tie(*reversed(accuracies))
    assert is_tie(accuracies[0], accuracies[0])
    if abs(accuracies[0].top1 - accuracies[1].top1) < least_difference(images) - 1e-9:
        assert is_tie(*accuracies)


def test_what_images_can_tell_is_said_and_small_sets_warn() -> None:
    text = describe_resolution(500)
    assert text.startswith("on 500 validation images an accuracy of 90% has a standard error of 1.3 points")
    assert "designs less than 1.2 points apart cannot be told apart (less than 3.7 where" in text
    assert warn_of_small_set(500) == []
    (warning,) = warn_of_small_set(499)
    assert warning.startswith("499 validation images are few")
    assert describe_resolution(5).endswith("no two designs can be told apart")
    assert least_difference(500) == pytest.approx(1.2)


def test_the_best_of_many_is_too_good_by_the_largest_error() -> None:
    best = Accuracy(50.0, 10_000)  # an error of 0.5 points on both sides
    assert largest_optimism(best, 1) == pytest.approx(0.0)
    # Expected maxima of 10 and 100 normal variables (tables): 1.539 and 2.508.
    assert largest_optimism(best, 10) == pytest.approx(0.5 * 1.539, rel=0.01)
    assert largest_optimism(best, 100) == pytest.approx(0.5 * 2.508, rel=0.01)
    assert largest_optimism(Accuracy(50.0), 100) == 0.0


@given(st.integers(2, 60_000), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_inferred_images_divide_the_true_number(images: int, shares: list[float]) -> None:
    top1s = [100 * round(share * images) / images for share in shares]
    inferred = infer_images(top1s)
    if any(0 < top1 < 100 for top1 in top1s):
        assert inferred is not None and images % inferred == 0
        assert all(standard_error(top1, inferred) >= standard_error(top1, images) for top1 in top1s)


def test_images_that_cannot_be_inferred_stay_unknown() -> None:
    assert infer_images([]) is None and infer_images([100.0, 0.0]) is None
    assert infer_images([100 / math.pi]) is None
    assert infer_images([90.6, 89.0]) == 500


@given(st.integers(1, 3000), st.data())
def test_bits_survive_as_text(images: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, 2**images - 1))
    text = encode_bits(correct, images)
    assert text is not None and text.isascii()
    assert decode_bits(text, images) == correct


@pytest.mark.parametrize("text", [None, "", "no base64", "aGVsbG8=", encode_bits(2**20 - 1, 20)])
def test_damaged_bits_are_unknown(text: str | None) -> None:
    assert decode_bits(text, 10) is None
    assert encode_bits(None, 10) is None and encode_bits(1, None) is None


def test_fields_for_json() -> None:
    fields = error_fields("val_top1", 90.0, 500)
    assert list(fields) == ["val_top1_se", "val_top1_interval"]
    assert fields["val_top1_se"] == pytest.approx(1.3416, abs=1e-4)
    assert error_fields("top5", 90.0, None) == {"top5_se": None, "top5_interval": None}
    result = {"test_top1": 75.0, "test_images": 4, "test_correct": encode_bits(0b1101, 4)}
    assert Accuracy.from_result(result, "test") == Accuracy(75.0, 4, 0b1101)
    assert Accuracy.from_result({"val_top1": 75.0}, "val") == Accuracy(75.0)  # of an earlier version
