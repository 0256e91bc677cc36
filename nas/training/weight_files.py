"""Weight files of other training codes: those of the papers' authors, of timm, and export folders of ours.

``supernet/checkpoints.py`` knows the parameters' names; here files are read, without running what a pickle
may hide.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from nas.runtime.error_text import first_line
from nas.runtime.files import load_tensors
from search_spaces.architecture import Architecture
from search_spaces.errors import CheckpointError
from supernet.checkpoints import count_channels, count_classes, load_network, translate_checkpoint
from supernet.network import Network

#: Keys under which training codes keep the weights; averaged ones, which their authors evaluate, come first.
_WEIGHT_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")
#: What wrappers put before every name: DistributedDataParallel, torch.compile and training modules.
_WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights of a torch or safetensors file, or of an export folder.

    Torch files are read without running code of theirs (``weights_only``). Weights nested under a known key
    are found, and prefixes that wrappers give to every name are removed.

    Raises:
        CheckpointError: If the file is absent, damaged, asks for code to be run, or holds no weights.
    """
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}; check the path")
    if path.suffix == ".safetensors":
        return _find_weights(path, load_tensors(path)[0])
    try:
        # Training codes store their arguments beside the weights; constructing a namespace runs no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a torch file of plain weights ({_reason(error)}); convert it to safetensors where its "
            "own code is at hand"
        ) from None
    except Exception as error:  # what torch makes of bytes that are no file of its own is anything
        raise CheckpointError(
            f"{path} is truncated or not a torch file ({_reason(error)}); copy it again"
        ) from None
    return _find_weights(path, content)


def _find_weights(path: Path, content: object) -> dict[str, Tensor]:
    """Return the tensors by name in the content of a file, without the prefixes of wrappers."""
    while isinstance(content, Mapping):
        nested = [content[key] for key in _WEIGHT_KEYS if isinstance(content.get(key), Mapping)]
        if not nested:
            break
        content = nested[0]
    tensors: dict[str, Tensor] = {}
    if isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no weights by name; give a file of a network's state_dict")
    while prefix := next((p for p in _WRAPPER_PREFIXES if all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _reason(error: Exception) -> str:
    # torch explains at length how to give the safety up; what it found comes after these words, if it says so.
    _, _, text = str(error).partition("WeightsUnpickler error:")
    first = first_line(pickle.UnpicklingError(text) if text else error)
    return first.split(". ")[0].split(" was not an allowed")[0].rstrip(".")


def read_network(path: Path, architecture: Architecture) -> tuple[Network, Architecture]:
    """Read a checkpoint into the network of ``architecture``, for as many channels and classes as it has.

    Returns:
        The network, and its design: ``architecture`` with the checkpoint's numbers of channels and classes.

    Raises:
        CheckpointError: If the file cannot be read or does not match; the message counts and names the misfits.
    """
    tensors = read_weights(path)
    try:
        state = translate_checkpoint(tensors)
        design = replace(
            architecture,
            in_channels=count_channels(state, architecture),
            num_classes=count_classes(state),
        )
        return load_network(design, state), design
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; is it a checkpoint of another network?") from None
