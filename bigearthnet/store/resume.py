"""The note beside the beginning of a file that arrives over several runs."""

from pydantic import BaseModel, ConfigDict, ValidationError


class ResumeNote(BaseModel):
    """The file that the bytes are of, and the version of its source that they came from."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    size: int
    md5: str | None
    validator: str | None
    upload: str | None = None
    """Id of the unfinished upload to a bucket."""

    def dump(self) -> bytes:
        """The content of its file."""
        return self.model_dump_json().encode()


def read_note(data: bytes) -> ResumeNote | None:
    """Read a note; None if it is none, or cut off."""
    try:
        return ResumeNote.model_validate_json(data)
    except ValidationError:
        return None
