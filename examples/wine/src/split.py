"""Parts the wines into those to learn from and those held out, each cultivar alike."""

import argparse
import os

import numpy as np
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data")
parser.add_argument("--train", required=True)
parser.add_argument("--holdout", required=True)
args = parser.parse_args()

with open(args.data) as f:
    header, *rows = f.read().splitlines()
cultivars = [row.rsplit(",", 1)[1] for row in rows]
train, holdout = train_test_split(
    np.arange(len(rows)), test_size=0.4, stratify=cultivars, random_state=int(os.environ["PLUMB_SEED"])
)
for name, chosen in [(args.train, train), (args.holdout, holdout)]:
    with open(name, "w") as f:
        f.write("\n".join([header] + [rows[i] for i in sorted(chosen)]) + "\n")
print(f"{len(train)} wines to learn from, {len(holdout)} held out")
