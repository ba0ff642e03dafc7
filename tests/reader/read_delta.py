"""
Print the rows of Delta tables as JSON, read by DuckDB: a second implementation of the format.

Runs in an environment of its own (requirements-reader.txt) with the folders as arguments. Times
are microseconds UTC, days ISO text, so that the caller compares plain values.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import files

import duckdb


def extension_path() -> str:
    """Return where the wheel put the extension: nothing is fetched from anywhere."""
    for file in files("duckdb-extension-delta") or []:
        if file.name.endswith(".duckdb_extension"):
            return str(file.locate())
    raise SystemExit("the package duckdb-extension-delta holds no extension")


def plain(name: str, type_: str) -> str:
    """Return the column as JSON can hold it."""
    match type_:
        case "TIMESTAMP WITH TIME ZONE":
            return f'epoch_us("{name}")'
        case "DATE":
            return f'CAST("{name}" AS VARCHAR)'
        case _:
            return f'"{name}"'


def main() -> None:
    """Read every folder named on the command line."""
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute("SET autoinstall_known_extensions = false")
    connection.load_extension(extension_path())
    found = {}
    for folder in sys.argv[1:]:
        described = connection.execute("DESCRIBE SELECT * FROM delta_scan(?)", [folder])
        columns = {name: type_ for name, type_, *_ in described.fetchall()}
        wanted = ", ".join(plain(name, type_) for name, type_ in columns.items())
        cursor = connection.execute(f"SELECT {wanted} FROM delta_scan(?)", [folder])  # noqa: S608
        rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
        found[folder] = {"columns": columns, "rows": rows}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
