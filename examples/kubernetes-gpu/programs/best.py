"""Which run of the sweep learned most?"""

import json
import os
from pathlib import Path

runs = json.loads(os.environ["RUNS"])
best = min(runs, key=lambda run: run["outputs"]["left"])
print(f"best of {len(runs)}: rate {best['matrix']['rate']}, batch {best['matrix']['batch']}")
Path(os.environ["JOBFORM_OUTPUT"]).write_text(json.dumps(best["matrix"]))
