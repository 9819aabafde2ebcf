"""Compare the models: what every training run published -> out/report.md."""

import json
import os
from pathlib import Path

from results import publish, replace


def main() -> None:
    runs = json.loads(os.environ["RUNS"])
    best = min(runs, key=lambda run: (run["outputs"]["log_loss"], run["outputs"]["model"]))
    lines = ["# Which bearing fails next?", "", "| learning rate | l2 | accuracy | log loss |", "|---|---|---|---|"]
    for run in runs:
        matrix, outputs = run["matrix"], run["outputs"]
        mark = " **best**" if run is best else ""
        lines.append(f"| {matrix['rate']} | {matrix['l2']} | {outputs['accuracy']:.3f} | {outputs['log_loss']:.4f}{mark} |")
    trained, judged = os.environ["TRAIN_ROWS"], os.environ["TEST_ROWS"]
    lines += ["", f"Trained on {trained} records, judged on {judged} that training never saw.", ""]
    replace(Path("out/report.md"), "\n".join(lines))
    print(f"best of {len(runs)}: {best['outputs']['model']}")
    publish({"best": best["outputs"]["model"], "log_loss": best["outputs"]["log_loss"]})


if __name__ == "__main__":
    main()
