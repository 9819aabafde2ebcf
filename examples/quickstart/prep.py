"""Clean the records and split them: data/bearings.csv -> out/train.csv, out/test.csv.

Records with a hole are dropped, Fahrenheit becomes Celsius, a record that appears twice is kept once.
"""

import argparse
import csv
import random
from pathlib import Path

from results import publish, replace

FEATURES = ("temperature_c", "vibration_mm_s", "load_kn", "age_days")


def celsius(text: str) -> float:
    return (float(text[:-1]) - 32) * 5 / 9 if text.endswith("F") else float(text)


def clean(rows: list[dict[str, str]]) -> tuple[list[list[float]], int, int]:
    """The usable records, each its features and the label, in order of id; then how many had a hole and how many came twice."""
    whole = [row for row in rows if all(row[name] for name in FEATURES)]
    by_id = {row["id"]: row for row in whole}
    kept = [by_id[key] for key in sorted(by_id)]
    values = [
        [celsius(row["temperature_c"]), *(float(row[name]) for name in FEATURES[1:]), float(row["failed"])] for row in kept
    ]
    return values, len(rows) - len(whole), len(whole) - len(kept)


def write(path: Path, rows: list[list[float]]) -> None:
    lines = [",".join((*FEATURES, "failed")), *(",".join(f"{value:.6g}" for value in row) for row in rows)]
    replace(path, "\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--test-share", type=float, required=True, help="the part of the records that training never sees")
    share = parser.parse_args().test_share
    if not 0 < share < 1:
        parser.error("--test-share must lie between 0 and 1")

    with Path("data/bearings.csv").open(newline="") as source:
        rows = list(csv.DictReader(source))
    values, holes, doubles = clean(rows)
    random.Random(7).shuffle(values)
    cut = round(len(values) * share)
    write(Path("out/test.csv"), values[:cut])
    write(Path("out/train.csv"), values[cut:])
    print(f"read {len(rows)} records: {holes} with a hole, {doubles} twice, {len(values)} kept")
    publish({"train_rows": len(values) - cut, "test_rows": cut})


if __name__ == "__main__":
    main()
