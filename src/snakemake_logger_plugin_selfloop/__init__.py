"""The logger plugin `selfloop` of Snakemake, which finds plugins by the name of their package."""

from dataclasses import dataclass, field
from logging import LogRecord
from typing import Optional

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

from selfloop.session.display import STYLES, Display, display


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Options of the command line: `--logger-selfloop-style`."""

    style: Optional[str] = field(  # noqa: UP045 (what Snakemake reads)
        default="auto",
        metadata={
            "help": "How to show a run: bars that are redrawn in a terminal; lines, one for each job that ends; or "
            "Snakemake's own messages. By default bars in a terminal, lines elsewhere, and of a dry-run Snakemake's.",
            "choices": STYLES,
        },
    )


class LogHandler(LogHandlerBase):
    """Shows a run by `selfloop.session.display`."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Choose the display."""
        style = getattr(self.settings, "style", None) or "auto"
        self.shown: Display = display(style, self.common_settings)

    def emit(self, record: LogRecord) -> None:
        """Show a record."""
        self.shown.show(record)

    def close(self) -> None:
        """Remove the bars."""
        self.shown.close()
        super().close()
