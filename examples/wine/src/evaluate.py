"""Holds a model against wines that it has not seen."""

import argparse
import json

import joblib
import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model")
parser.add_argument("holdout")
parser.add_argument("--metrics", required=True)
args = parser.parse_args()

data = np.genfromtxt(args.holdout, delimiter=",", skip_header=1)
known = data[:, -1].astype(int)
predicted = joblib.load(args.model).predict(data[:, :-1])
metrics = {
    "accuracy": accuracy_score(known, predicted),
    "f1": f1_score(known, predicted, average="macro"),
    "wines": len(known),
}
with open(args.metrics, "w") as f:
    json.dump(metrics, f)
print("         predicted")
print("actual     0   1   2")
for cultivar, row in enumerate(confusion_matrix(known, predicted)):
    print(f"     {cultivar}" + "".join(f"{n:4d}" for n in row))
print(f"accuracy {metrics['accuracy']:.3f} on {metrics['wines']} wines")
