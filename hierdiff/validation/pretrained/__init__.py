"""Published networks: the catalogue, verified downloads, loading; the catalogue needs no torch."""

from hierdiff.validation.pretrained.loading import as_model, pretrained, read_weights

__all__ = ["as_model", "pretrained", "read_weights"]
