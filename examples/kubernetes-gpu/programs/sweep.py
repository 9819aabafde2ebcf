"""One learning rate and one batch size: how much is left to learn after 20 steps?"""

import json
import os
import sys
from pathlib import Path

rate, batch = float(sys.argv[1]), int(sys.argv[2])
weight = 0.0
for step in range(20):
    points = [(step * batch + each) % 100 / 100 for each in range(batch)]
    weight -= rate * sum(2 * x * (weight - 3) * x for x in points) / batch
left = abs(weight - 3)
print(f"rate {rate:g}, batch {batch}: {left:.4f} left")
Path(os.environ["JOBFORM_OUTPUT"]).write_text(json.dumps({"left": round(left, 4)}))
