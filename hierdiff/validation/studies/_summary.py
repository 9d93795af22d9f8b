"""What a study on networks found, as JSON that says how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hierdiff import results

__all__ = ["device_name", "write_summary"]


def device_name(device: str) -> str:
    """The name of an accelerator as torch knows it, or the word itself."""
    if device.startswith("cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_name(device)
    return device


def write_summary(path: Path, claims: Mapping[str, Any], closing: str, device: str) -> None:
    """Write the claims, the closing line, and command, commit, versions and device."""
    versions = json.loads(results.provenance({})["versions"])
    also = {
        "versions": {**versions, "torch": torch.__version__}, "device": device_name(device)
    }  # fmt: skip
    results.write_summary(path, {**claims, "closing": closing}, {}, also=also)
