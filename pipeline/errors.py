"""The one exception that means: the user can put this right."""

from __future__ import annotations


class PipelineError(Exception):
    """Something in the input, the settings or the machine stops the work.

    Shown as a single line, so `what` says what is wrong and where (it names the file, line or
    value), and `hint` says what to do next.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        # Names of files come from outside; a newline in one must not make two lines of this.
        text = f"{self.what}; {self.hint}" if self.hint else self.what
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)

    def __reduce__(self) -> tuple[type[PipelineError], tuple[str, str]]:
        # Exceptions cross process borders by pickle, which would otherwise drop the hint.
        return (type(self), (self.what, self.hint))
