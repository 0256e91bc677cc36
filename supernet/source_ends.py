"""What every exported ``model.py`` ends with: making and loading the network, reading images, predicting."""

from __future__ import annotations

from typing import Final

CREATE: Final = '''def create_model() -> Network:
    """Return the network with untrained weights."""
'''

LOAD: Final = '''def load_model(weights: str | Path | None = None) -> Network:
    """Return the network with its trained weights, ready for inference.

    Args:
        weights: A safetensors file; ``model.safetensors`` beside this file where it is left out.

    Raises:
        ValueError: If the file is not what was written: its header has the CRC-32 of all of it.
    """
    from safetensors.torch import load

    content = Path(weights or Path(__file__).with_name("model.safetensors")).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    stored = json.loads(content[8:start]).get("__metadata__", {}).get("file_crc32")
    if stored is not None:
        # It was computed with zeros in its own place.
        header = content[:start].replace(f'"file_crc32":"{stored}"'.encode(), b'"file_crc32":"00000000"')
        if zlib.crc32(memoryview(content)[start:], zlib.crc32(header)) != int(stored, 16):
            raise ValueError("the file of weights is damaged: its checksum is another one; copy it again")
    model = create_model()
    model.load_state_dict(load(content))
    return model.eval()


def normalise(images: Tensor) -> Tensor:
    """Turn uint8 images ``(B, C, H, W)`` into what the network was trained on."""
    mean, std = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (MEAN, STD))
    return (images.float() / 255 - mean) / std'''

#: Pillow's mode of images with as many channels; image files have no others.
PREDICTABLE: Final = {1: "L", 3: "RGB"}

#: With ``MODE`` for Pillow's mode. The steps are those of ``nas/data/decoding.py``.
PREDICT: Final = '''def preprocess(image: Any) -> Tensor:
    """Turn an image of any size into what the network takes, as it was outside training.

    It is turned upright as its EXIF data says, laid on white where it is transparent, and made MODE. Its
    centre, ``TEST_CROP`` of the shorter side, is resized to ``IMAGE_SIZE`` (bicubic) and normalised.

    Args:
        image: A file, or an image of Pillow.

    Returns:
        ``(1, C, H, W)``.
    """
    from PIL import Image, ImageOps

    if not isinstance(image, Image.Image):
        with Image.open(image) as file:
            file.load()
            return preprocess(file)
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"more than 8 bits per channel (mode {image.mode}): convert the image to 8 bits")
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("MODE")
    height, width = IMAGE_SIZE
    across = min(image.width, image.height * width / height) * TEST_CROP
    down = min(image.height, image.width * height / width) * TEST_CROP
    left, top = (image.width - across) / 2, (image.height - down) / 2
    box = (left, top, left + across, top + down)
    image = image.resize((width, height), Image.Resampling.BICUBIC, box=box)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return normalise(pixels.view(1, height, width, -1).permute(0, 3, 1, 2))


def class_names() -> list[str]:
    """Return the classes in the order of the logits, as ``config.json`` beside this file names them."""
    config = json.loads(Path(__file__).with_name("config.json").read_text(encoding="utf-8"))
    return config["class_names"] or [str(index) for index in range(config["num_classes"])]


@torch.inference_mode()
def predict(image: Any, top: int = 5, model: nn.Module | None = None) -> list[tuple[str, float]]:
    """Return the most probable classes of an image with their probabilities, the most probable first.

    Args:
        image: A file, or an image of Pillow.
        top: How many classes.
        model: The network, from ``load_model``; for several images, load it once.
    """
    names, model = class_names(), model or load_model()
    images = preprocess(image).to(next(model.parameters()).device)
    probabilities, indices = model(images).softmax(dim=1)[0].topk(min(top, len(names)))
    return [(names[index], value) for index, value in zip(indices.tolist(), probabilities.tolist())]'''
