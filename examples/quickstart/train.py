"""Fit a logistic regression by gradient descent: out/train.csv -> out/model-*.json, judged on out/test.csv."""

import argparse
import csv
import json
import math
import os
import sys
from pathlib import Path

from results import publish, replace

Matrix = list[list[float]]
EPOCHS = 300


def read(path: Path) -> tuple[Matrix, list[float]]:
    """Features and labels."""
    with path.open(newline="") as source:
        rows = [[float(value) for value in row] for row in list(csv.reader(source))[1:]]
    return [row[:-1] for row in rows], [row[-1] for row in rows]


def scale(features: Matrix) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of every column."""
    columns = list(zip(*features, strict=True))
    means = [sum(column) / len(column) for column in columns]
    spreads = [
        math.sqrt(sum((value - mean) ** 2 for value in column) / len(column)) or 1.0
        for column, mean in zip(columns, means, strict=True)
    ]
    return means, spreads


def standardise(features: Matrix, means: list[float], spreads: list[float]) -> Matrix:
    """Every column with mean 0 and deviation 1, and a leading 1 for the intercept."""
    return [[1.0, *((v - m) / s for v, m, s in zip(row, means, spreads, strict=True))] for row in features]


def probability(weights: list[float], row: list[float]) -> float:
    score = sum(w * v for w, v in zip(weights, row, strict=True))
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


def fit(features: Matrix, labels: list[float], rate: float, l2: float) -> list[float]:
    """Weights after EPOCHS steps of full-batch gradient descent; the intercept is not regularised."""
    weights = [0.0] * len(features[0])
    for _ in range(EPOCHS):
        errors = [probability(weights, row) - label for row, label in zip(features, labels, strict=True)]
        for j in range(len(weights)):
            slope = sum(error * row[j] for error, row in zip(errors, features, strict=True)) / len(labels)
            weights[j] -= rate * (slope + (l2 * weights[j] if j else 0.0))
    return weights


def judge(weights: list[float], features: Matrix, labels: list[float]) -> tuple[float, float]:
    """Accuracy and mean log loss."""
    chances = [probability(weights, row) for row in features]
    right = sum((chance >= 0.5) == (label == 1.0) for chance, label in zip(chances, labels, strict=True))
    loss = -sum(math.log(chance if label else 1 - chance) for chance, label in zip(chances, labels, strict=True))
    return right / len(labels), loss / len(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, required=True, help="learning rate")
    parser.add_argument("--l2", type=float, required=True, help="strength of the regularisation")
    parser.add_argument("--out", type=Path, required=True, help="where the model goes")
    options = parser.parse_args()

    features, labels = read(Path("out/train.csv"))
    expected = int(os.environ["TRAIN_ROWS"])
    if len(labels) != expected:
        sys.exit(f"out/train.csv has {len(labels)} rows, but prep wrote {expected}: something else changed it")
    means, spreads = scale(features)
    weights = fit(standardise(features, means, spreads), labels, options.rate, options.l2)
    test_features, test_labels = read(Path("out/test.csv"))
    accuracy, loss = judge(weights, standardise(test_features, means, spreads), test_labels)

    replace(options.out, json.dumps({"weights": weights, "means": means, "spreads": spreads}, indent=2) + "\n")
    print(f"rate {options.rate}, l2 {options.l2}: accuracy {accuracy:.3f}, log loss {loss:.4f}")
    publish({"accuracy": round(accuracy, 4), "log_loss": round(loss, 4), "model": str(options.out)})


if __name__ == "__main__":
    main()
