"""How far off is the line on numbers that training never saw?"""

import json
import os
from pathlib import Path

weight = float(os.environ["WEIGHT"])
error = max(abs(weight * x - 3 * x) for x in range(2, 10))
print(f"weight {weight}: at most {error:.4f} off")
Path(os.environ["JOBFORM_OUTPUT"]).write_text(json.dumps({"error": round(error, 4)}))
