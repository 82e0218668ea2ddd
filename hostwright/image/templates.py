"""Templates of rootfs/ become the files of one machine: the only module that imports jinja2.

rootfs/*.j2 + host_values(Machine, ids, kernel release) -> render_text -> text
"""

import re
from collections.abc import Mapping

from hostwright.base.errors import UserError
from hostwright.base.escape import visible
from hostwright.machine.cmdline import is_serial_console

# The templates whose values are escaped, by the end of the name.
MARKUP = (".html.j2", ".xml.j2")

# What GRUB's shell takes as it stands: everything else is quoted (GRUB manual, "Quoting").
_PLAIN_GRUB_WORD = re.compile(r"[A-Za-z0-9_.,:/=@%+-]+")


def render_text(template_text: str, name: str, values: Mapping[str, object]) -> str:
    """The template filled in; the filter `grub_word` quotes for grub.cfg. In HTML and XML every value is escaped.

    Raises UserError, naming template `name`, line and variable, when the template is malformed or names a
    value that is not there.
    """
    # Here, since it takes longer to import than everything else in this module together.
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=name.endswith(MARKUP),
        finalize=_finish,
    )
    environment.filters["grub_word"] = grub_word
    environment.tests["serial_console"] = is_serial_console
    try:
        return environment.from_string(template_text).render(values)
    except jinja2.TemplateSyntaxError as error:
        raise UserError(f"{name}, line {error.lineno}: {error.message}", "correct the template") from None
    except jinja2.UndefinedError as error:
        hint = f"the template may name {', '.join(sorted(values))} and their attributes"
        raise UserError(f"{name}{_template_line(error)}: {error.message}", hint) from None


def _finish(value: object) -> object:
    """A value without control characters, as it goes into any file; what is escaped already stays."""
    return visible(value) if type(value) is str else value


def grub_word(word: str) -> str:
    """`word` as one word of GRUB's shell.

    A single quote cannot stand between single quotes: it is left out of them behind a backslash.
    """
    if _PLAIN_GRUB_WORD.fullmatch(word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def _template_line(error: Exception) -> str:
    """The innermost line of the template in the error's traceback, where jinja2 puts it."""
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return f", line {line}" if line else ""
