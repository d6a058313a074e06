"""The bundled sample: pictures, labels and a checkpoint, made on the spot from a seed."""

from pipeline.sample.make import CHECKPOINT, IMAGES, LABELS, MEANING, make_sample

__all__ = ["CHECKPOINT", "IMAGES", "LABELS", "MEANING", "make_sample"]
