"""Figures as a table for people and as JSON for programs."""

import json
from pathlib import Path


def show(title, columns, rows, notes=()):
    """`columns` are (key, heading, format); a row is a dictionary; a value that is missing is shown as a dash."""
    def cell(row, key, form):
        value = row.get(key)
        return "–" if value is None else format(value, form) if form else str(value)

    lines = [[heading for _, heading, _ in columns], *[[cell(row, key, form) for key, _, form in columns] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    print(f"\n{title}\n")
    for index, line in enumerate(lines):
        print("| " + " | ".join(text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(line, widths))) + " |")
        if index == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")
    for note in notes:
        print(note)
    print(flush=True)


def write(path, **values):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1) + "\n")
    print(f"written: {path}")
