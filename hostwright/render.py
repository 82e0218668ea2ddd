"""Templates of rootfs/ become the files of one machine: the only door to jinja2.

rootfs/*.j2 + host_values(Machine, ids, kernel release) -> render_text -> text
"""

import re
from collections.abc import Mapping

from hostwright import findings
from hostwright.base.errors import UserError
from hostwright.machine import Machine, kernel_words

# What GRUB's shell takes as it stands: everything else is quoted (GRUB manual, "Quoting").
_PLAIN_GRUB_WORD = re.compile(r"[A-Za-z0-9_.,:/=@%+-]+")


def host_values(machine: Machine, ids: object, kernel_release: str) -> dict[str, object]:
    """What the templates of rootfs/ may name.

    `ids` has the attributes root_uuid (ext4), root_partuuid and esp_partuuid (GPT); `kernel_release` is what
    `uname -r` will say.
    """
    return {
        "machine": machine,
        "ids": ids,
        "kernel_release": kernel_release,
        "kernel_words": kernel_words,
        "serial_lines": serial_lines(machine),
        "findings": tuple(findings.load().values()),
    }


def serial_lines(machine: Machine) -> tuple[tuple[int, int], ...]:
    """Number and baud rate of the serial lines with a console: the first port, then those of kernel.cmdline.

    The last one is the machine's main serial line: the kernel opens it as /dev/console
    (Documentation/admin-guide/serial-console.rst, which also has the form of the word).
    """
    lines = {0: 115200}
    for word in machine.kernel.cmdline:
        if found := re.fullmatch(r"console=ttyS([0-9]+)(?:,([0-9]+).*)?", word):
            number = int(found[1])
            lines.pop(number, None)
            lines[number] = int(found[2] or 9600)
    return tuple(lines.items())


def render_text(template_text: str, name: str, values: Mapping[str, object]) -> str:
    """The template filled in; the filter `grub_word` quotes for grub.cfg.

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
        autoescape=False,
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


def is_serial_console(word: str) -> bool:
    """Whether a word of the kernel's command line names a serial console."""
    return word.startswith("console=ttyS")


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
