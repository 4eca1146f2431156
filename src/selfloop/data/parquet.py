"""How every Parquet file is written."""

from collections.abc import Mapping

# Arguments of pyarrow's writers. Page checksums let other programs notice damage, too.
FORMAT: Mapping[str, object] = {"compression": "zstd", "write_page_checksum": True}
