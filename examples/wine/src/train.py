"""Learns a random forest from wines whose cultivar is known."""

import argparse
import os

import joblib
import numpy as np
from sklearn.ensemble import RandomForestClassifier

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("train")
parser.add_argument("--trees", type=int, required=True)
parser.add_argument("--out", required=True)
args = parser.parse_args()

data = np.genfromtxt(args.train, delimiter=",", skip_header=1)
forest = RandomForestClassifier(args.trees, random_state=int(os.environ["PLUMB_SEED"]))
forest.fit(data[:, :-1], data[:, -1].astype(int))
joblib.dump(forest, args.out)
print(f"{args.trees} trees, {sum(t.tree_.node_count for t in forest.estimators_)} nodes")
