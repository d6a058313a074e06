"""The one exception that means: the user can put this right; and text that stays on one line."""

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
        return one_line(f"{self.what}; {self.hint}" if self.hint else self.what)

    def __reduce__(self) -> tuple[type[PipelineError], tuple[str, str]]:
        # Exceptions cross process borders by pickle, which would otherwise drop the hint.
        return (type(self), (self.what, self.hint))


def one_line(text: str) -> str:
    r"""Return `text` with what cannot be shown escaped, as in `\n` and, for a byte, `\udce9`.

    Names of files come from outside: they may hold line breaks, control characters and bytes that
    are no UTF-8.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
