"""What a run rests on: its checkpoint, followed back by content; and whether it is the sample's."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from models_vovnet.published import WEIGHTS_MD5
from pipeline import chain, identity, work_dir
from pipeline.errors import one_line
from pipeline.record import Json

_LONGEST = 5  # steps from a model back to its checkpoint; there are three, with int8 and atc


@functools.cache
def _md5(file: Path, sha256: str) -> str | None:
    """Return the MD5 of a file of 90 MB, where it still is the one of this SHA-256."""
    return identity.file_digest(file, "md5") if identity.file_digest(file) == sha256 else None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as records have it; `published` is None where they do not tell."""

    path: str
    sha256: str
    md5: str
    published: bool | None


@dataclass(frozen=True)
class Sources:
    """The work folder with what its records say of contents."""

    work: work_dir.Work

    def maker(self, digest: str | None) -> Json | None:
        """Return the record of the stage that made the file with this SHA-256."""
        for _, made in self.work.stages:
            if digest and any(entry.get("sha256") == digest for entry in made["outputs"]):
                return made
        return None

    def checkpoint(self, run: work_dir.Run) -> Checkpoint | None:
        """Return the checkpoint that the model of a run was made of; None where nothing tells."""
        model = run.link("model")
        digest = chain.field(model, str, "sha256")
        stage = chain.field(model, str, "stage")
        source = chain.field(model, dict, "made_of", 0)
        for _ in range(_LONGEST):
            made = self.maker(digest)
            if made is not None:
                stage, source = made["stage"], next(iter(made["inputs"]), None)
            if source is None:
                return None
            if stage == "export":
                return self._described(source, made or {})
            digest, stage = chain.field(source, str, "sha256"), None
            source = None
        return None

    def _described(self, source: Json, made: Json) -> Checkpoint:
        md5 = chain.field(made, str, "details", "checkpoint", "md5")
        digest = chain.field(source, str, "sha256") or ""
        if md5 is None:
            place = work_dir.opened(source.get("path"), made, self.work.folder)
            md5 = _md5(place, digest) if place and place.is_file() else None
        return Checkpoint(
            path=one_line(str(source.get("path", ""))),
            sha256=one_line(digest),
            md5=one_line(md5 or ""),
            published=None if md5 is None else md5 == WEIGHTS_MD5,
        )

    def sample(self, run: work_dir.Run) -> Json | None:
        """Return the record of the sample where the labels of a run, or its checkpoint, are its."""
        labels = chain.field(run.score.made if run.score else {}, str, "inputs", 1, "sha256")
        checkpoint = self.checkpoint(run)
        for digest in (labels, checkpoint.sha256 if checkpoint else None):
            made = self.maker(digest)
            if made and made["stage"] == "sample":
                return made
        return None

    def is_on_card(self, run: work_dir.Run) -> bool | None:
        """Say whether a run was of a converted model, on a card; None where no record tells."""
        model = chain.field(run.link("model"), str, "path")
        return None if model is None else Path(model).suffix == ".om"

    @property
    def soc(self) -> str | None:
        """The chip that a model was converted for, as in Ascend310; None where none was."""
        found = [chain.field(made, str, "settings", "soc_version") for _, made in self.work.stages]
        named = [name for name in found if name]
        return named[-1] if named else None
