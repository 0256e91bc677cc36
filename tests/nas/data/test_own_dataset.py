"""One's own data sets: what an item may be, what is known of it by content, what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

import nas
from nas.data.sources.own_dataset import OwnImages, read_own_datasets, to_image
from search_spaces.errors import DataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8)
GREY = PIXELS[:, :, 0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (PIXELS, PIXELS),
        (PIXELS.transpose(2, 0, 1), PIXELS),
        (torch.from_numpy(PIXELS).permute(2, 0, 1), PIXELS),
        (torch.from_numpy(PIXELS).permute(2, 0, 1).float() / 255, PIXELS),
        (PIXELS.astype(np.float64) / 255, PIXELS),
        (Image.fromarray(PIXELS), PIXELS),
        (GREY, GREY),
        (GREY[:, :, None], GREY),
        (torch.from_numpy(GREY)[None], GREY),
        (torch.from_numpy(GREY).half() / 255, GREY),
    ],
)
def test_an_image_may_be_given_in_many_ways(value: Any, expected: np.ndarray[Any, Any]) -> None:
    assert np.array_equal(np.asarray(to_image(value)), expected)


def test_an_image_that_is_closed_stays_whole_where_it_is_from() -> None:
    kept = Image.fromarray(PIXELS)
    with to_image(kept):
        pass
    assert np.array_equal(np.asarray(kept), PIXELS)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (PIXELS.astype(np.int64), r"its values are int64, not bytes \(uint8\) or floats in 0 to 1"),
        (torch.full((3, 4, 4), -0.5), "go from -0.5 to -0.5, and floats must be in 0 to 1; leave normalisation out"),
        (torch.full((3, 4, 4), float("nan")), "go from nan to nan"),
        (np.zeros((2, 4, 4), np.uint8), r"its shape is 2x4x4, not \(C, H, W\)"),
        (np.zeros((3, 4, 3), np.uint8), "its shape 3x4x3 does not say which axis holds the channels"),
        (np.zeros((3, 0, 4), np.uint8), "its shape is 3x0x4"),
        (np.zeros(4, np.uint8), "its shape is 4, not"),
        ("a.png", "it is a str, not a PIL image, a tensor or an array"),
        (Image.new("I;16", (4, 4)), "it has more than 8 bits per channel"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused(value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        to_image(value)


def make(count: int = 30, classes: int = 3, seed: int = 0, side: int = 8) -> TensorDataset:
    """Different images, class by class in turn."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    return TensorDataset(torch.from_numpy(images), torch.arange(count) % classes)


class Named(Dataset[Any]):
    """Pictures with names of classes."""

    classes = ("cat", "dog", "emu")

    def __init__(self, items: Any, change: Callable[[int, Any], Any] = lambda index, item: item) -> None:
        self.items, self.change = items, change

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        image, label = self.items[index]
        return self.change(index, (Image.fromarray(image.permute(1, 2, 0).numpy()), int(label)))


def test_images_are_split_like_those_of_a_folder_and_read_as_they_are() -> None:
    own = make()
    data = nas.load_data(train=own, name="noise", quiet=True)
    assert (data.name, data.class_names, data.image_size, data.in_channels) == (
        "noise",
        ("0", "1", "2"),
        8,
        3,
    )
    # Of the 10 images of each class one is held out to validate on, two to test on.
    assert [len(split) for split in (data.train, data.val, data.final_test())] == [21, 3, 6]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (data.mean, data.std))
    pixels = own.tensors[0]
    for split in (data.train, data.val, data.final_test()):
        ((images, labels),) = split.batches(100)
        for image, label in zip((images * std + mean) * 255, labels, strict=True):
            (place,) = torch.where((pixels - image).abs().flatten(1).amax(1) < 0.1)[0].tolist()
            assert own.tensors[1][place] == label


def test_identity_is_content_not_order_nor_type_nor_name() -> None:
    own = make()
    first = nas.load_data(train=own, quiet=True)
    backwards = Subset(own, list(range(len(own)))[::-1])
    floats = TensorDataset(own.tensors[0].float() / 255, own.tensors[1])
    same = [nas.load_data(train=each, name="other", quiet=True) for each in (backwards, floats)]
    assert {each.digest for each in same} == {first.digest} == {nas.load_data(train=own, quiet=True).digest}
    changed = own.tensors[0].clone()
    changed[3, 0, 0, 0] ^= 1
    others = [
        make(seed=1),
        TensorDataset(changed, own.tensors[1]),
        TensorDataset(own.tensors[0], own.tensors[1].flip(0)),
    ]
    assert first.digest not in {nas.load_data(train=each, quiet=True).digest for each in others}


def test_parts_that_are_given_are_kept_and_copies_never_lie_in_two() -> None:
    own, held_out = make(), make(6, seed=5)
    data = nas.load_data(train=own, validation=held_out, quiet=True)
    assert [len(split) for split in (data.train, data.val, data.final_test())] == [24, 6, 6]
    both = nas.load_data(train=own, validation=held_out, test=Subset(own, range(6)), quiet=True)
    assert [len(split) for split in (both.train, both.val, both.final_test())] == [24, 6, 6]
    assert any("left out of train: 6" in note for note in both.summary.notes)


def test_classes_have_the_names_of_the_data_set_or_those_given() -> None:
    named = Named(make())
    assert nas.load_data(train=named, quiet=True).class_names == ("cat", "dog", "emu")
    assert nas.load_data(train=Subset(named, range(30)), quiet=True).class_names == ("cat", "dog", "emu")
    given = nas.load_data(train=named, class_names=["x", "y", "z"], quiet=True)
    assert given.class_names == ("x", "y", "z")
    with pytest.raises(DataError, match="class_names gives 2 different names, and the largest label is 2"):
        nas.load_data(train=named, class_names=["x", "y"], quiet=True)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(())


def _fail(index: int, item: Any) -> Any:
    if index == 4:
        raise KeyError("moved")
    return item


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        (Stream(), "train is a Stream, which cannot be read by index|train, a Stream, does not say how many"),
        (iter([]), "train is a list_iterator, which cannot be read by index"),
        (Named([]), "train, a Named, is empty"),
        (Named(make(), _fail), r"item 4 of train cannot be read \(KeyError: 'moved'\)"),
        (Named(make(), lambda i, item: {"image": item[0]}), r"item 0 of train must be \(image, label\), not a dict"),
        (Named(make(), lambda i, item: (*item, 1)), r"must be \(image, label\), not a tuple of 3"),
        (Named(make(), lambda i, item: (item[0], 1.0)), "has the label 1.0; labels are integers, from 0"),
        (Named(make(), lambda i, item: (item[0], -1)), "has the label -1; labels are integers"),
        (Named(make(), lambda i, item: ("x", 0)), "the image of item 0 of train cannot be used: it is a str"),
        (Named(make(), lambda i, item: (item[0].rotate(RNG.uniform(1, 90)), item[1])),
         r"item 0 of train is another one each time it is read; leave random transforms out"),
        (Named(make(), lambda i, item: (item[0], 0)), "class 'dog' of Named has too few images to split"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(train: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        nas.load_data(train=train, quiet=True)


def test_a_spec_and_ones_own_images_exclude_one_another() -> None:
    for given in ({}, {"spec": "mnist5k", "train": make()}):
        with pytest.raises(DataError, match="either as a spec such as 'folder:PATH', or as train="):
            nas.load_data(**given)
    with pytest.raises(DataError, match=r"^class_names goes with train="):
        nas.load_data("mnist5k", class_names=["a"])
    with pytest.raises(
        DataError, match="dataset:x is a data set of a Python program; give it there as data="
    ):
        nas.load_data("dataset:x")


def test_images_travel_to_workers_without_what_they_were_loaded_by() -> None:
    source = read_own_datasets({"train": make()})
    assert isinstance(source.images, OwnImages)
    copy = pickle.loads(pickle.dumps(source.images))
    assert np.array_equal(np.asarray(copy.open(5)), np.asarray(source.images.open(5)))
    assert copy.describe(5) == source.images.describe(5)
    data = nas.load_data(train=make(), quiet=True)
    assert data.origin is not None and data.origin.source is not None
    assert pickle.loads(pickle.dumps(data)).origin is None
