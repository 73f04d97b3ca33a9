"""Functions that format result rows of the GPU benchmark as Markdown tables, those of layers side by side."""

from typing import Any

from benchmarks.gpu.parts import Row


def table(rows: list[Row]) -> str:
    """Return rows as a table, those of layers with one column a layer."""
    rows = layers_side_by_side(rows) if rows and "layer" in rows[0] else rows
    columns = list(dict.fromkeys(name for row in rows for name in row if name not in ("low", "high")))
    if not columns:
        return "no rows"
    lines = [columns, ["---"] * len(columns), *([cell(row, name) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def layers_side_by_side(rows: list[Row]) -> list[Row]:
    """Merge the rows of one case: the time of the plain layer, and the ratio of each other layer with quartiles."""
    merged: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        case = {name: row[name] for name in ("bound", "task", "dtype", "layout", "shape")}
        line = merged.setdefault(tuple(case.values()), case)
        if row["layer"] == "plain":
            line["plain"] = f"{row['milliseconds']:.3f} ms"
        else:
            line[row["layer"]] = cell(row, "ratio")
    return list(merged.values())


def cell(row: Row, name: str) -> str:
    """Return a value as text; a ratio with its quartiles."""
    value = row.get(name, "")
    if name == "ratio" and "low" in row:
        return f"{value:.2f} ({row['low']:.2f}-{row['high']:.2f})"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {number:.3f}" for key, number in value.items())
    return str(value).replace("\n", " ").replace("|", "/")
