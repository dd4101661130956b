"""Pictures of answers, drawn into files."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from integration.cli.frame import Call
from integration.cli.options import Form
from integration.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from integration.pictures.how import How

_STANDARD_OUTPUT = "-"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture that somebody wants: its form and file, its title, how it is drawn, and what made it."""

    form: Form
    file: str
    title: str
    told: str
    source: str = ""

    def how(self) -> "How":
        """Read how it is drawn. Raises UsageError."""
        from integration.pictures.how import how

        if not self.told:
            raise UsageError(
                "It is not said how to draw this: begin the file with two lines, `-- What it tells.` and "
                "`-- Picture: bars of people by channel`, as headrace report pipeline --sql does."
            )
        return how(self.told)


def draw(call: Call, drawing: Drawing, table: "pa.Table", limit: int | None) -> None:
    """Draw an answer into the file; `limit` is how many bars there may be. Raises UsageError and ConfigError."""
    from integration.pictures import draw as pictures
    from integration.pictures.plan import BARS, plan
    from integration.store import answers

    rows = answers.rows(table)
    at_most = BARS if limit is None else limit or max(len(rows), 1)
    picture = plan(drawing.how(), drawing.title, rows, at_most=at_most)
    made = (pictures.svg if drawing.form is Form.SVG else pictures.png)(picture, drawing.source)
    if drawing.file == _STANDARD_OUTPUT:
        sys.stdout.buffer.write(made)
        return
    try:
        Path(drawing.file).write_bytes(made)
    except OSError as error:
        raise UsageError(f"The picture can't be written to {drawing.file}: {error.strerror}.") from None
    call.out.note(f"Drawn into {drawing.file}.")
