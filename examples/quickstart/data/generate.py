"""Write bearings.csv: 300 made-up maintenance records, the same bytes every time, with the dirt that real exports have.

usage: python3 generate.py > bearings.csv
"""

import math
import random
import sys

ROWS = 300
HEADER = "id,temperature_c,vibration_mm_s,load_kn,age_days,failed"


def record(chance: random.Random, number: int) -> list[str]:
    """One bearing: the warmer, shakier and older, the likelier it failed; three in a hundred have a hole, two a wrong unit."""
    temperature = chance.gauss(62, 9)
    vibration = chance.lognormvariate(0.8, 0.5)
    load = chance.uniform(5, 40)
    age = chance.randrange(30, 1800)
    strain = 0.11 * (temperature - 62) + 0.9 * (vibration - 2.4) + 0.03 * (load - 22) + 0.0016 * (age - 900)
    failed = int(chance.random() < 1 / (1 + math.exp(-strain)))
    row = [f"B{number:04d}", f"{temperature:.1f}", f"{vibration:.2f}", f"{load:.1f}", str(age), str(failed)]
    if chance.random() < 0.03:
        row[chance.randrange(1, 5)] = ""
    elif chance.random() < 0.02:
        row[1] = f"{temperature * 9 / 5 + 32:.1f}F"
    return row


def main() -> None:
    chance = random.Random(20240229)
    rows = [record(chance, number) for number in range(ROWS - 6)]
    rows += [list(row) for row in chance.sample(rows, 6)]  # an export that was run twice
    chance.shuffle(rows)
    sys.stdout.write("\n".join([HEADER, *(",".join(row) for row in rows)]) + "\n")


if __name__ == "__main__":
    main()
