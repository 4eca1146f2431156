"""How every Parquet file is written."""

from collections.abc import Mapping
from typing import Any

# Arguments of pyarrow's writers. Page checksums let other programs notice damage, too.
FORMAT: Mapping[str, Any] = {"compression": "zstd", "write_page_checksum": True}
