"""What every option of the commands that write model files does: nas export and nas import."""

from __future__ import annotations

from tests.nas.cli.option_entry import Entry, of

IMPORT = ("import", "small.pth", "--as", "small", "--out", "model")

MODEL_FILES: dict[str, dict[str, Entry]] = {
    "export": {
        "--out": of(
            ("export", "study"),
            *("--out", "model"),
            refusals=[
                ("export", "study", "--out", "study"),
                ("export", "study", "--out", "study/retrained/mine"),
                ("export", "study", "--out", "images"),
            ],
        ),
        "--arch": of(("export", "study"), "--arch", "abc", refused="--arch abc"),
        "--format": of(("export", "study"), "--format", "onnx"),
        "--input": of(
            ("export", "study"),
            *("--input", "uint8"),
            refusals=[
                ("export", "study", "--input", "bytes"),
                ("export", "study", "--format", "source", "--input", "uint8"),
            ],
        ),
        "--dynamic-size": of(
            ("export", "study"),
            "--dynamic-size",
            refusals=[("export", "study", "--format", "source", "--dynamic-size")],
        ),
        "--opset": of(
            ("export", "study"),
            *("--opset", "18"),
            refusals=[("export", "study", "--format", "pt2", "--opset", "18")],
        ),
        "--precision": of(
            ("export", "study"),
            *("--precision", "int8,fp16"),
            refusals=[
                ("export", "study", "--precision", "int4"),
                ("export", "study", "--format", "pt2", "--precision", "fp16"),
            ],
        ),
        "--target": of(
            ("export", "study"),
            *("--target", "onnxruntime"),
            refusals=[
                ("export", "study", "--target", "tensorflow"),
                ("export", "study", "--format", "pt2", "--target", "onnxruntime"),
            ],
        ),
        "--threads": of(
            ("export", "study", "--target", "torch"),
            *("--threads", "2"),
            refusals=[("export", "study", "--threads", "2")],
        ),
        "--json": of(("export", "study"), "--json"),
    },
    "import": {
        "--as": of(
            ("import", "small.pth", "--out", "model", "--as", "small"),
            *("--as", "dwnet_tiny"),
            refused="do not match",
        ),
        "--out": of(("import", "small.pth", "--as", "small", "--out", "model"), "--out", "model2"),
        "--format": of(IMPORT, "--format", "onnx"),
        "--input": of(
            (*IMPORT, "--format", "onnx"), "--input", "uint8", refusals=[(*IMPORT, "--input", "uint8")]
        ),
        "--dynamic-size": of(
            (*IMPORT, "--format", "pt2"), "--dynamic-size", refusals=[(*IMPORT, "--dynamic-size")]
        ),
        "--target": of(IMPORT, "--target", "torch", refusals=[(*IMPORT, "--target", "onnxruntime")]),
        "--threads": of(
            (*IMPORT, "--target", "torch"), *("--threads", "2"), refusals=[(*IMPORT, "--threads", "2")]
        ),
        "--opset": of((*IMPORT, "--format", "onnx"), "--opset", "18", refusals=[(*IMPORT, "--opset", "18")]),
        "--json": of(IMPORT, "--json"),
    },
}
