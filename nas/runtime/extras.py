"""Packages that come with an extra of this project: ``pip install nas`` leaves them out, and what needs one says so."""

from __future__ import annotations

from importlib.util import find_spec

from search_spaces.errors import RequestError

#: The extra that brings a package, by the name that is imported.
EXTRAS = {
    "mlxtend": "search",
    "ray": "search",
    "scipy": "search",
    "timm": "search",
    "torchvision": "search",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "openvino": "openvino",
    "optuna_dashboard": "dashboard",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "psycopg": "postgres",
    "pymysql": "mysql",
    "aiohttp": "urls",
    "gcsfs": "urls",
    "s3fs": "urls",
}


class MissingPackageError(RequestError):
    """A package is not installed that only some uses need."""

    page = "howto/install.md#extras"


def explain_missing(error: ModuleNotFoundError) -> MissingPackageError | None:
    """Return what to install where a module is missing that an extra brings; None for any other."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return MissingPackageError(
        f"this needs the package {package}, which is not installed; type: pip install 'nas[{EXTRAS[package]}]'"
    )


def require_package(package: str, what: str) -> None:
    """Refuse what needs a package that is not installed.

    Args:
        package: The name that is imported, one of ``EXTRAS``.
        what: What needs it, as it was typed.

    Raises:
        MissingPackageError: If it is not installed.
    """
    if find_spec(package) is None:
        raise MissingPackageError(
            f"{what}: the package {package} is not installed; type: pip install 'nas[{EXTRAS[package]}]'"
        )
